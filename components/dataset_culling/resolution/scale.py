"""Which scale serves: shrink by a factor until the confidence loss changes too much.

N = culled frames, S = tried scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dataset_culling.types import FloatArray


@dataclass(frozen=True, slots=True)
class ScaleChoice:
    """The chosen scale and what was seen on the way; `changes` are relative (see `relative_change`)."""

    scale: float
    scales: tuple[float, ...]
    changes: tuple[float, ...]


def squared_change(full_loss: FloatArray, loss: FloatArray) -> float:
    """What the paper prints as MSE: sum over frames of (Lconf_FR - Lconf)^2; it grows with N.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.2.
    """
    return float(np.sum((np.asarray(full_loss, np.float64) - loss) ** 2))


def relative_change(full_loss: FloatArray, loss: FloatArray) -> float:
    """The paper's sum as a share of the summed squares at full size, so that one threshold fits any N and any scene.

    Args:
        full_loss: Confidence loss of each frame at full size, shape (N,).
        loss: The same at another size, shape (N,).

    Returns:
        0 where nothing changed; 0 also where there was nothing to be unsure of at either size.
    """
    change, size = squared_change(full_loss, loss), float(np.sum(np.asarray(full_loss, np.float64) ** 2))
    return change / size if size > 0 else (0.0 if change == 0 else float(np.finfo(np.float64).max))


def choose_scale(
    evaluate: Callable[[float], FloatArray], scales: Sequence[float], *, threshold: float, whole_curve: bool = False
) -> ScaleChoice:
    """Try scales from the full one down, and stop before the first whose change exceeds the threshold.

    Args:
        evaluate: Confidence losses of the culled frames at a scale, shape (N,); called only for scales that are tried.
        scales: Falling, the full one first.
        threshold: Largest `relative_change` that is put up with.
        whole_curve: Measure every scale; the choice is the same.

    Raises:
        ValueError: If there is no scale, or they do not fall.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.2. The relative threshold is ours: the
        paper gives no value for its own.
    """
    if not scales or any(small >= large for large, small in zip(scales, scales[1:], strict=False)):
        raise ValueError(f"scales must fall from the full one, got {list(scales)}")
    full = evaluate(scales[0])
    tried, changes, chosen, over = [scales[0]], [0.0], scales[0], False
    for scale in scales[1:]:
        if over and not whole_curve:
            break
        tried.append(scale)
        changes.append(relative_change(full, evaluate(scale)))
        over = over or changes[-1] > threshold
        if not over:
            chosen = scale
    return ScaleChoice(chosen, tuple(tried), tuple(changes))
