"""The loss of every frame that a cull could have kept, worked out again from what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.config import CullConfig
from dataset_culling.types import FloatArray, Selection


def losses_of_all(pool: CullInput, cull: Mapping[str, Any], selection: Selection) -> FloatArray | None:
    """What a cull ranked each of its frames by; a selection/1 holds this for the kept frames only.

    Args:
        pool: The frames that the cull chose from, N of them.
        cull: Its configuration, from the selection's header.
        selection: What it kept.

    Returns:
        Losses, shape (N,). None where they cannot be known: the configuration is of another version, the strategy
        ranks each pick by those before it or ranks nothing, or what comes out is not what the selection says.
    """
    try:
        asked = {key: value for key, value in cull.items() if key in CullConfig.model_fields}
        config = CullConfig.model_validate(asked).replace(budget=max(len(pool), 1), min_gap_s=0.0)
        everything = config.choose(pool)
    except (ValidationError, ValueError):
        return None
    rows = pool.detections.rows_of(everything.frame_ids)
    if len(np.unique(rows)) != len(pool):
        return None
    loss = np.empty(len(pool))
    loss[rows] = everything.loss
    same = np.allclose(loss[pool.detections.rows_of(selection.frame_ids)], selection.loss, rtol=1e-6, atol=1e-9)
    return loss if same and np.ptp(loss) > 0 else None
