"""The labels of a teacher: thresholds, ignore regions, self-consistency, tracks."""
