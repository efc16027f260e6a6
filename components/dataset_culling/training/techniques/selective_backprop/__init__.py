"""Selective-Backprop: backward passes for images of high loss only."""
