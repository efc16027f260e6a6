"""Dataset Culling: a small, fast, accurate object detector for every fixed camera, retrained every night.

Yoshioka et al., Dataset Culling: Towards Efficient Training of Distillation-based Domain Specific Models, ICIP 2019.
"""

__version__ = "0.1.0"
