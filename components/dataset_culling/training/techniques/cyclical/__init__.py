"""Cyclical learning rates: a triangular schedule."""
