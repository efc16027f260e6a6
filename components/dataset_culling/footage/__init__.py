"""Footage: find, probe, index, timeline, sample, holdout, decode, damage, near_duplicates, in this order of use."""
