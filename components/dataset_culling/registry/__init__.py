"""The model registry: versions and the champion (models.py), what earlier nights left (nights.py)."""
