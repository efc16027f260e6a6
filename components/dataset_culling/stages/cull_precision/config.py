"""Knobs of the cull-precision stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.strategies.config import CullConfig
from dataset_culling.strategies.table import STRATEGIES


class CullPrecisionConfig(CullConfig):
    """How many of the labelled frames the student is trained on, and which."""

    strategy: str = Field("precision", description=f"How frames are chosen: {', '.join(STRATEGIES)}.")
    budget: int = Field(256, ge=1, description="Most frames to train on: the paper's n.")
    min_trust: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Frames on which the teacher agrees with itself less than this are not chosen; without effect "
        "where label_frames.trust is off.",
    )
