"""Frames and labels for an annotator: the human check set, label proposals."""
