"""The keep-night stage."""
