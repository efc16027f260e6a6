"""Video in: which files make up the footage, which of their frames are wanted, and those frames decoded and checked."""
