"""Configuration of the cull-precision stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.strategies.config import CullConfig
from dataset_culling.strategies.table import STRATEGIES


class CullPrecisionConfig(CullConfig):
    """The second cull: the labelled frames that the student is trained on."""

    strategy: str = Field("precision", description=f"How frames are chosen: {', '.join(STRATEGIES)}.")
    budget: int = Field(256, ge=1, description="Most frames to train on: the paper's n.")
    min_trust: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least self-agreement of the teacher on a chosen frame; no effect if label_frames.trust is off.",
    )
