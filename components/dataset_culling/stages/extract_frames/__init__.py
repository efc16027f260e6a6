"""Frame extraction: see README.md."""
