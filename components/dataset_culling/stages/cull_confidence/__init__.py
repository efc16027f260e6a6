"""The cull-confidence stage."""
