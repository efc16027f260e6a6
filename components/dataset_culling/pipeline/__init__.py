"""The DAG (graph.py), its settings (settings.py) and presets. Loads neither torch nor kfp."""
