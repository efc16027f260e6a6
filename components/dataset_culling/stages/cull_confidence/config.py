"""Configuration of the cull-confidence stage."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dataset_culling.strategies.config import CullConfig
from dataset_culling.strategies.table import STRATEGIES


class CullConfidenceConfig(CullConfig):
    """The first cull: the size of the shortlist that the teacher labels."""

    strategy: str = Field(
        "confidence",
        description=f"How frames are chosen: {', '.join(s.name for s in STRATEGIES.values() if not s.needs_labels)}.",
    )
    budget: int = Field(1024, ge=1, description="Most frames passed on to the teacher.")

    @model_validator(mode="after")
    def _strategy_needs_no_labels(self) -> Self:
        if STRATEGIES[self.strategy].needs_labels:
            raise ValueError(
                f"strategy '{self.strategy}' needs the teacher's labels, which come after this cull. Use it "
                f"in cull_precision, and 'full' here to label every frame"
            )
        return self
