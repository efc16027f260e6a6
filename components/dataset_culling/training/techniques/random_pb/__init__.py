"""Random subsets of fixed batches."""
