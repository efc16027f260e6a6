"""Options of Grad-Match."""

from __future__ import annotations

from typing import ClassVar

from dataset_culling.training.techniques.base import DrawnSubsetConfig


class GradMatchConfig(DrawnSubsetConfig):
    """Subsets of batches whose weighted gradients match the gradient of all (Grad-Match)."""

    method: ClassVar[str] = "gradmatch"
