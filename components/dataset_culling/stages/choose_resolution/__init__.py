"""The choose-resolution stage."""
