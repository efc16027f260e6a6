"""Artifacts: the directories with a header that stages pass on. Only this package knows their file names."""
