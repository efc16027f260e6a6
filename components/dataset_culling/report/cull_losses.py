"""Losses of all frames that a cull could choose from, recomputed from its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.config import CullConfig
from dataset_culling.types import FloatArray, Selection


def losses_of_all(pool: CullInput, cull: Mapping[str, Any], selection: Selection) -> FloatArray | None:
    """Recompute the loss by which a cull ranked each of its frames; a selection/1 holds it for kept frames only.

    Args:
        pool: Inputs of the cull, N frames.
        cull: Its configuration, from the selection's header.
        selection: The frames that it kept, with their losses.

    Returns:
        Losses, shape (N,). None if the configuration is of another version, if the strategy's ranking depends on its
        earlier picks or is constant, or if the recomputed losses of the kept frames differ from the recorded ones.
    """
    try:
        known = {key: value for key, value in cull.items() if key in CullConfig.model_fields}
        config = CullConfig.model_validate(known).replace(budget=max(len(pool), 1), min_gap_s=0.0)
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
