"""optResolution: the smallest image at which the student is still as sure."""
