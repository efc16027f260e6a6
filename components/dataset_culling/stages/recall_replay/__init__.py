"""The recall-replay stage."""
