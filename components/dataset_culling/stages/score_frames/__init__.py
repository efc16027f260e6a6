"""The score-frames stage."""
