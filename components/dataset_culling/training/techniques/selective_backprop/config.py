"""Options of Selective-Backprop."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from pydantic import Field, model_validator

from dataset_culling.training.techniques.base import TechniqueConfig


def num_kept(num_images: int, keep: float) -> int:
    """Return how many images of a batch are trained on: the share `keep`, rounded, at least one."""
    return max(1, round(keep * num_images))


class SelectiveBackpropConfig(TechniqueConfig):
    """Backward passes only for images of a batch that a forward pass finds hard."""

    enabled: bool = Field(False, description="Turn it on.")
    start: float = Field(0.5, ge=0, le=1, description="Share of the epochs after which it starts.")
    end: float = Field(0.9, ge=0, le=1, description="Share of the epochs after which it ends.")
    keep: float = Field(0.5, ge=0.1, lt=1, description="Share of a batch's images that are trained on.")
    interrupt: int = Field(2, ge=0, description="One of this many batches is trained on whole; 0: none.")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start must be below end, found {self.start:g} and {self.end:g}")
        return self

    def problem(self, *, batch_size: int, others: Collection[str]) -> str:
        """Return why no image would be left out; empty if images would."""
        del others
        if num_kept(batch_size, self.keep) == batch_size:
            return (
                f"expected batches of which keep {self.keep:g} leaves out an image, found batch_size {batch_size}. "
                f"Raise batch_size, lower keep, or turn it off."
            )
        if self.interrupt == 1:
            return (
                "interrupt expects 0, or 2 and more, while it is on, found 1, which trains on every batch whole. "
                "Raise it, or turn the technique off."
            )
        return ""

    def selects(self, epoch: int, epochs: int) -> bool:
        """Return True if images are chosen in an epoch, counted from 0: in [start, end) of all."""
        return self.enabled and self.start <= epoch / epochs < self.end
