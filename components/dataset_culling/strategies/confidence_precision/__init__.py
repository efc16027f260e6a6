"""The paper's two stages as one strategy: confidence to a pool, precision within it. See README.md beside this."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.strategies import confidence, precision
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.confidence import ConfidenceConfig
from dataset_culling.strategies.precision import PrecisionConfig
from dataset_culling.types import Selection


class ConfidencePrecisionConfig(StageConfig):
    """Both stages' options, and how many frames the first hands to the second."""

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
    """Keep `pool_factor` times `budget` frames by confidence, and of those `budget` by precision; see `base.Select`."""
    pool.require_labels()
    wide = max(budget, round(config.pool_factor * budget))
    first = confidence.select(pool, budget=wide, min_gap_s=min_gap_s, rng=rng, config=config.confidence)
    rows = np.sort(pool.detections.rows_of(first.frame_ids))
    return precision.select(pool.take(rows), budget=budget, min_gap_s=min_gap_s, rng=rng, config=config.precision)
