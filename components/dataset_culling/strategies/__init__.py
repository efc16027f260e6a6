"""Strategies choose frames; one folder each, with code and method card. `table.py` lists them."""
