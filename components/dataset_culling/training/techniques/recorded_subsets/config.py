"""Options of a replay of recorded subsets."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dataset_culling.training.techniques.base import SubsetConfig


class RecordedSubsetsConfig(SubsetConfig):
    """Train on the subsets that another training recorded (Cached-Grad-Match)."""

    switch: ClassVar[str] = "source"
    method: ClassVar[str] = "replay"

    source: str = Field(
        "", description="A subset.jsonl or its model/1, as path or s3:// URI; empty turns the technique off."
    )
