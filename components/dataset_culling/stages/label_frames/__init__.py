"""The label-frames stage."""
