"""A detector over many frames: batching, resuming, logged detections."""
