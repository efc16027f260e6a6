"""Joint training and pruning of neurons."""
