"""Compression-aware training: kernels of low rank."""
