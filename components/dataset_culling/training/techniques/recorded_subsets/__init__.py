"""Replay of the subsets that another training recorded."""
