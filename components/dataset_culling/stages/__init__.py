"""One folder per stage: config.py (its knobs), stage.py (its work), component.py (its KFP adapter), README.md."""
