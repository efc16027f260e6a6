"""One folder per stage: config.py (its settings), stage.py (its work), README.md."""
