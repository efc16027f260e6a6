"""The cull-precision stage."""
