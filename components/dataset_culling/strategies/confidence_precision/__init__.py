"""The paper's two stages as one strategy: confidence to a pool, precision within it. See README.md."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.ranking import keep_hardest
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.confidence_loss import ConfidenceConfig, frame_loss
from dataset_culling.strategies.precision_loss import PrecisionConfig, keep_worst
from dataset_culling.types import Selection


class ConfidencePrecisionConfig(StageConfig):
    """Options of both stages, and the number of frames that the first hands to the second."""

    pool_factor: float = Field(
        4.0, ge=1, description="Frames that the teacher would label, as a multiple of those kept."
    )
    confidence: ConfidenceConfig = Field(ConfidenceConfig(), description="The first stage.")
    precision: PrecisionConfig = Field(PrecisionConfig(), description="The second stage.")


def select(
    pool: CullInput,
    *,
    budget: int,
    min_gap_s: float = 0.0,
    rng: np.random.Generator,
    config: ConfidencePrecisionConfig,
) -> Selection:
    """Keep `pool_factor` times `budget` frames by confidence, and of those `budget` by precision. See `base.Select`."""
    del rng
    pool.require_labels()
    wide = max(budget, round(config.pool_factor * budget))
    loss = frame_loss(pool.detections, config.confidence)
    rows = np.sort(keep_hardest(loss, pool.time_s, budget=wide, min_gap_s=min_gap_s))
    return keep_worst(pool.take(rows), budget=budget, min_gap_s=min_gap_s, config=config.precision)
