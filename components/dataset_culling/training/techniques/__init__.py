"""Training techniques, one folder each, plugged into the loop by hooks; see table.py."""
