"""Gradient matching: a few candidates whose weighted gradients sum to a target. Arrays in, arrays out.

N = candidates (batches or samples), D = numbers in a gradient, K = chosen ones.
"""

from __future__ import annotations

import math

import numpy as np

from dataset_culling.types import FloatArray, IntArray

REGULARISATION = 0.5
"""The paper's lambda; CORDS's configurations of GradMatchPB have 0.5 or 0. There it is absolute; in `match_batches` it
is in units of the gradients' mean square."""
TOLERANCE = 1e-100
"""CORDS's eps for GradMatchPB: the pursuit ends by budget, or where no candidate helps."""
SKETCH = 2**15
"""Gradients with more numbers are sketched to so many; inner products are then right to about 1 / sqrt(SKETCH)."""
_ROUNDING = 1e-12


def matching_pursuit(
    gradients: FloatArray,
    target: FloatArray,
    budget: int,
    *,
    regularisation: float = REGULARISATION,
    tolerance: float = TOLERANCE,
) -> tuple[IntArray, FloatArray]:
    """A few gradients and weights, none negative, whose weighted sum is near the target.

    Greedy: take the candidate that points most along what is still missing, then weigh all taken ones anew so that
    error = |target - sum of weight x gradient|^2 + regularisation x |weights|^2 is least. One whose best weight is
    zero is let go. Ties go to the first candidate.

    Args:
        gradients: (N, D).
        target: (D,).
        budget: Most candidates to take.
        regularisation: Lambda, at least 0.
        tolerance: The error at which it ends.

    Returns:
        Rows in the order they were taken, (K,), and their weights, (K,), all above 0; K <= budget, and fewer where
        nothing else would lower the error.

    Raises:
        ValueError: If shapes differ, something is not finite, or budget or regularisation are out of range.

    Source:
        Killamsetty et al., GRAD-MATCH, ICML 2021 (arXiv:2103.00123), Algorithm 2. Their code (CORDS) lets negative
        weights go one at a time; here the weights are the optimum, by `nonnegative`.
    """
    if gradients.ndim != 2 or target.shape != gradients.shape[1:]:
        raise ValueError(f"gradients and target must be (N, D) and (D,), got {gradients.shape} and {target.shape}")
    if budget < 1 or regularisation < 0:
        raise ValueError(f"budget must be at least 1 and regularisation at least 0, got {budget}, {regularisation:g}")
    exact, wanted = np.asarray(gradients, np.float64), np.asarray(target, np.float64)
    if not (np.isfinite(exact).all() and np.isfinite(wanted).all()):
        raise ValueError("gradients and target must be finite")
    gram, moments, energy = exact @ exact.T, exact @ wanted, float(wanted @ wanted)
    least = _ROUNDING * float(np.abs(moments).max(initial=0.0))
    weights = np.zeros(len(gram))
    taken: list[int] = []
    for _ in range(
        4 * budget
    ):  # letting go lowers the error too, so none comes twice; against rounding there is a bound
        if len(taken) == budget:
            break
        missing = moments - gram @ weights
        missing[taken] = -np.inf
        best = int(np.argmax(missing)) if len(missing) else 0
        if not len(missing) or missing[best] <= least:
            break
        rows = [*taken, best]
        part = gram[np.ix_(rows, rows)] + regularisation * np.eye(len(rows))
        weighed = nonnegative(part, moments[rows], start=weights[rows])
        if weighed[-1] == 0:
            break
        weights[:] = 0
        weights[rows] = weighed
        taken = [row for row in rows if weights[row] > 0]
        error = energy - 2 * weights @ moments + weights @ gram @ weights + regularisation * weights @ weights
        if error <= tolerance:
            break
    return np.array(taken, np.int64), weights[taken]


def nonnegative(gram: FloatArray, moments: FloatArray, *, start: FloatArray) -> FloatArray:
    """The least of w' gram w - 2 w' moments over w >= 0.

    Args:
        gram: (K, K), positive semidefinite.
        moments: (K,).
        start: (K,) where to begin: least already over the entries that are above 0, or all zero.

    Source:
        Lawson and Hanson, Solving Least Squares Problems, 1974, algorithm NNLS, on the normal equations.
    """
    weights = start.astype(np.float64)
    free = weights > 0
    least = _ROUNDING * float(np.abs(moments).max(initial=0.0))
    for _ in range(3 * len(weights)):
        slope = np.where(free, -np.inf, moments - gram @ weights)
        best = int(np.argmax(slope))
        if slope[best] <= least:
            break
        free[best] = True
        while free.any():
            rows = np.flatnonzero(free)
            trial = np.zeros(len(weights))
            trial[rows] = np.linalg.lstsq(gram[np.ix_(rows, rows)], moments[rows], rcond=None)[0]
            if (trial[rows] > 0).all():
                weights = trial
                break
            low = rows[trial[rows] <= 0]
            far = float((weights[low] / np.maximum(weights[low] - trial[low], np.finfo(np.float64).tiny)).min())
            weights = weights + far * (trial - weights)
            weights[low[weights[low] <= _ROUNDING * weights.max(initial=0.0)]] = 0
            free = weights > 0
    return weights


def match_batches(
    gradients: FloatArray, budget: int, random: np.random.Generator, *, regularisation: float = REGULARISATION
) -> tuple[IntArray, FloatArray]:
    """Batches, and weights for their losses, that stand for all batches (GradMatchPB).

    Args:
        gradients: One of each fixed batch, (N, D); rows that are not finite are as if they were zero.
        budget: How many to take; exactly so many come back, at most N.
        random: Fills up where the pursuit takes fewer; those weigh what a batch weighs among all, 1.
        regularisation: In units of the mean square of the gradients, so that no loss's scale matters.

    Returns:
        Rows, ascending, (K,), and weights with a mean of 1, (K,): a step stays as long as in training on all batches.
    """
    whole = np.array(gradients, np.float64)  # the one copy: it may be gigabytes
    whole[~np.isfinite(gradients).all(axis=1)] = 0.0
    whole /= math.sqrt(float(np.vdot(whole, whole)) / len(whole)) or 1.0
    taken, weights = matching_pursuit(whole, whole.sum(axis=0), min(budget, len(whole)), regularisation=regularisation)
    left = np.setdiff1d(np.arange(len(whole)), taken)
    drawn = random.choice(left, size=min(budget, len(whole)) - len(taken), replace=False)
    rows = np.concatenate([taken, drawn]).astype(np.int64)
    heavy = np.concatenate([weights, np.ones(len(drawn))])
    order = np.argsort(rows)
    return rows[order], heavy[order] * (len(rows) / heavy.sum())


def sketch(gradient: FloatArray, *, numbers: int = SKETCH) -> FloatArray:
    """A gradient as it is where it is short, else in `numbers` numbers that keep inner products on average.

    Each of its numbers is added, with a sign, to one of the sketch's; which and with what sign depends on the length
    alone, so gradients of one network fit each other.

    Args:
        gradient: (D,).
        numbers: Most numbers.

    Source:
        Charikar, Chen, Farach-Colton, Finding Frequent Items in Data Streams, 2002 (count sketch); Weinberger et al.,
        Feature Hashing for Large Scale Multitask Learning, 2009, for inner products.
    """
    if len(gradient) <= numbers:
        return gradient
    random = np.random.default_rng(len(gradient))
    places = random.integers(0, numbers, len(gradient))
    signs = random.integers(0, 2, len(gradient)) * 2 - 1
    return np.asarray(np.bincount(places, weights=gradient * signs, minlength=numbers), np.float64)
