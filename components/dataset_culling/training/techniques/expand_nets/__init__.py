"""ExpandNets: over-parameterised kernels while training."""
