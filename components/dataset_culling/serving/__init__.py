"""Students outside a run: bundles, boxes drawn into a video."""
