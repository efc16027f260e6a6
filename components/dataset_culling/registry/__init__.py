"""The model registry: versions and the champion (models.py), kept nights (nights.py)."""
