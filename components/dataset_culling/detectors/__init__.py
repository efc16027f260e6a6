"""Detectors behind one protocol: torch modules that learn, exported networks that only look."""
