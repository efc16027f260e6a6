"""Experiments: measurements that support decisions. Not in the wheel or the image; they import the package."""
