"""The train-control stage."""
