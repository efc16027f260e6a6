"""The render-report stage."""
