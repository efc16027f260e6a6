"""Grad-Match: batches whose weighted gradients match those of all batches."""
