"""Random subsets of frames."""
