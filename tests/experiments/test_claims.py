"""The rules behind the verdicts, on figures made by hand."""

from __future__ import annotations

import math

import pytest

from experiments.reproduce.claims import (
    Pick,
    combined,
    difference,
    goals,
    helps_the_weak,
    knees,
    orders_the_arms,
    picks_overlap,
    saturates,
    scales_down,
    spearman,
    speeds_up_with_the_pool,
)
from experiments.reproduce.results import CurvePoint, Overlap
from reproduce_rows import row

BOTH = "confidence+precision"


def test_difference__pairs_by_camera_and_seed_and_tells_its_noise():
    wide = {"variant": "expand"}
    rows = [
        row(BOTH, 90, camera="a"), row(BOTH, 92, camera="a", seed=1), row(BOTH, 80, camera="b"),
        row(BOTH, 89, camera="a", **wide), row(BOTH, 89, camera="a", seed=1, **wide), row(BOTH, 84, camera="b", **wide),
        row(BOTH, 50, camera="a", seed=2, **wide), row(BOTH, 50, camera="c", **wide),  # nothing to pair these with
    ]  # fmt: skip
    found = difference(rows, Pick(BOTH, 128, variant="expand"), Pick(BOTH, 128))
    assert found is not None
    assert found.value == pytest.approx((-2 + 4) / 2)  # a: mean of -1 and -3; b: 4
    assert found.noise == pytest.approx(
        2 * math.sqrt(2 * (1 / 2 + 1)) / 2
    )  # variance of -1 and -3 is 2; cameras of two and one seed
    assert difference(rows, Pick(BOTH, 64, variant="expand"), Pick(BOTH, 64)) is None


def test_difference__on_other_frames_all_seeds_of_each_count():
    rows = [
        row("full", 80, camera="a"), row("full", 90, camera="a", seed=1), row("full", 91, camera="a", seed=2),
        row("full", 70, camera="b"), row("full", 70, camera="b", seed=1),
        row(BOTH, 84, camera="a"), row(BOTH, 72, camera="b"), row(BOTH, 50, camera="c"),
    ]  # fmt: skip
    found = difference(rows, Pick(BOTH, 128), Pick("full"))
    assert found is not None
    assert found.value == pytest.approx((84 - 87 + 2) / 2)  # seed 0 alone would say +3
    variance = (2 * 37 + 1 * 0) / 3  # of 80, 90, 91 and of 70, 70
    assert found.noise == pytest.approx(2 * math.sqrt(variance * (1 + 1 / 3 + 1 + 1 / 2)) / 2)
    even = [row("full", 80), row("full", 80, seed=1), row(BOTH, 84), row(BOTH, 84, variant="paper")]
    for single in (Pick(BOTH, 128), Pick(BOTH, 128, variant="paper")):  # what has one seed tells nothing of its spread
        step = difference(even, single, Pick("full"))
        assert step is not None
        assert step.noise == 2.0
    more = [row(BOTH, 90, seed=1), row(BOTH, 90, seed=2)]
    other = difference([*even, *more], Pick(BOTH, 128), Pick(BOTH, 128, variant="paper"))  # other frames: not paired
    assert other is not None
    assert other.value == pytest.approx(88 - 84)
    alone = difference([row("full", 90), row(BOTH, 84)], Pick(BOTH, 128), Pick("full"))
    assert alone is not None
    assert (alone.value, alone.noise) == (pytest.approx(-6), 2.0)
    assert difference(rows, Pick(BOTH, 64), Pick("full")) is None


def test_combined__one_seed_says_nothing_of_noise_and_equal_seeds_not_nothing():
    one, equal = combined({"a": [3.0]}), combined({"a": [3.0, 3.0]})
    assert one is not None
    assert equal is not None
    assert (one.noise, equal.noise) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("at_128", "at_256", "full", "verdict"),
    [
        (88.5, 89.0, 88.5, "shown"),  # the paper's own surveillance, nearly
        (85.0, 89.0, 88.5, "contradicted"),  # four points more from the last doubling
        (86.5, 89.0, 88.5, "not shown"),  # 2.5 points: one more than flat, within the noise of one seed
        (84.0, 84.5, 88.5, "contradicted"),  # flat, and four points below full
        (86.0, 86.5, 88.5, "not shown"),  # two points below full, within the noise
    ],
)
def test_saturates__needs_a_flat_end_that_reaches_full(at_128: float, at_256: float, full: float, verdict: str):
    rows = [row(BOTH, at_128), row(BOTH, at_256, size=256), row("full", full)]
    assert saturates(rows).verdict == verdict


def test_saturates__small_sizes_show_nothing():
    rows = [row(BOTH, 88, size=32), row(BOTH, 88.2, size=64), row("full", 88)]
    claim = saturates(rows)
    assert claim.verdict == "not shown"
    assert "n = 32 to 64: +0.2 ± 2.0; n = 64 against full: +0.2" in claim.figures
    assert saturates(rows[:1]).verdict == "not shown"
    assert saturates(rows[:2]).figures.startswith("needs two sizes and the full data set")


PAPER = {"uniform": 73.1, "confidence-sum": 91.1, BOTH: 94.8, "precision": 95.4, "full": 95.8}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "shown"),
        ({"uniform": 90.0}, "not shown"),  # only 1.1 points less than confidence
        ({"uniform": 94.0}, "contradicted"),
        ({"confidence-sum": 93.0}, "not shown"),  # 1.8 points: within the noise of one seed
        ({"confidence-sum": 97.0}, "contradicted"),
        ({"precision": 91.0}, "contradicted"),
        ({"full": 97.5}, "not shown"),  # precision 2.1 below
    ],
)
def test_orders_the_arms__as_in_table_2(changes: dict[str, float], verdict: str):
    rows = [row(arm, value) for arm, value in {**PAPER, **changes}.items()]
    assert orders_the_arms(rows).verdict == verdict


def test_orders_the_arms__by_cost_too():
    rows = [row(arm, value) for arm, value in PAPER.items() if arm != "uniform"]
    assert orders_the_arms(rows).figures == "not run at n = 128: uniform"
    # 128 labels and 128 x 20 steps; the others score 1,000 frames besides
    seconds = "153.6 : 253.6 : 637.6 : 1125.6 : 1200.0"
    cheap = [*rows, row("uniform", 73.1)]
    assert orders_the_arms(cheap).figures.endswith(
        "seconds " + " : ".join(f"{float(one):.0f}" for one in seconds.split(" : "))
    )
    assert orders_the_arms([*rows, row("uniform", 73.1, training_s=500.0)]).verdict == "contradicted"


def camera_at(frames: int, agreement: float, name: str) -> list:
    return [row(BOTH, agreement, camera=name, frames=frames), row("full", agreement, camera=name, frames=frames)]


def test_speeds_up_with_the_pool__large_pools_against_small_ones():
    rows = camera_at(10_000, 90, "a") + camera_at(600, 90, "b")
    claim = speeds_up_with_the_pool(rows, 86_400)
    # 12,000 s over 1,000 + 512 + 25.6; 720 s over 60 + 512 + 25.6
    assert claim.verdict == "shown"
    assert "7.8 times at 10,000 frames, 1.2 at 600" in claim.figures
    assert speeds_up_with_the_pool(camera_at(1000, 90, "a") + camera_at(900, 90, "b"), 86_400).verdict == "not shown"
    slow = [row(BOTH, 90, camera="a", frames=10_000, scored_s=50_000.0), row("full", 90, camera="a", frames=10_000)]
    assert speeds_up_with_the_pool(slow + camera_at(600, 90, "b"), 86_400).verdict == "contradicted"


def test_helps_the_weak__by_ranks():
    weak_gain_most = [
        row(BOTH, 90, camera=name, raw_agreement=raw) for name, raw in zip("abcd", (0.5, 0.6, 0.7, 0.8), strict=True)
    ]
    assert helps_the_weak(weak_gain_most).verdict == "shown"
    other_way = [
        row(BOTH, v, camera=n, raw_agreement=r)
        for n, v, r in zip("abcd", (51, 62, 75, 88), (0.5, 0.6, 0.7, 0.8), strict=True)
    ]
    assert helps_the_weak(other_way).verdict == "contradicted"
    assert helps_the_weak(weak_gain_most[:3]).verdict == "not shown"


def curve(camera: str, *points: tuple[float, float, float]) -> list[CurvePoint]:
    return [CurvePoint(camera, 128, 0, scale, 288, 1.0, change, ap, 0) for scale, change, ap in points]


FIRST = ((1.0, 0.0, 0.9), (0.9, 0.06, 0.9), (0.8, 0.2, 0.85))
LATE = ((1.0, 0.0, 0.9), (0.9, 0.01, 0.85), (0.8, 0.06, 0.8))


def test_knees__by_hand():
    assert knees(curve("a", *FIRST)) == (0.9, 0.8)
    assert knees(curve("a", *LATE)) == (0.8, 0.9)
    assert knees(curve("a", (1.0, 0.0, 0.9), (0.9, 0.01, 0.9))) == (0.0, 0.0)


def test_scales_down__size_cost_and_knee():
    scales = {"a": (20.0, 0.9), "b": (30.0, 0.8), "c": (40.0, 0.7), "d": (60.0, 0.5)}
    plain = [row(BOTH, 90, camera=name, object_px=px) for name, (px, _) in scales.items()]

    def small(agreement: float, flip: bool = False) -> list:
        pairs = list(scales.items())
        taken = [scale for _, (_, scale) in (reversed(pairs) if flip else pairs)]
        return [
            row(BOTH, agreement, camera=name, object_px=px, opt_resolution="loss", scale=scale)
            for (name, (px, _)), scale in zip(pairs, taken, strict=True)
        ]

    curves = [point for name in scales for point in curve(name, *FIRST)]
    assert scales_down(plain + small(89), curves).verdict == "shown"
    assert scales_down(plain + small(86), curves).verdict == "contradicted"
    assert scales_down(plain + small(89, flip=True), curves).verdict == "contradicted"
    assert (
        scales_down(plain + small(89), [point for name in scales for point in curve(name, *LATE)]).verdict
        == "contradicted"
    )
    assert scales_down(plain + small(89), []).verdict == "not shown"
    assert scales_down(plain, curves).verdict == "not shown"


@pytest.mark.parametrize(
    ("alone", "both", "verdict"),
    [(0.55, 0.2, "shown"), (0.45, 0.2, "not shown"), (0.6, 0.55, "contradicted"), (0.35, 0.2, "contradicted")],
)
def test_picks_overlap__by_share(alone: float, both: float, verdict: str):
    found = [Overlap("a", "confidence-sum", 128, 0, alone, 0.9), Overlap("a", BOTH, 128, 0, both, 0.9)]
    assert picks_overlap(found).verdict == verdict
    assert picks_overlap(found[:1]).verdict == "not shown"


def test_goals__hundred_times_at_no_loss():
    # a day: full 86,400 x 1.2 s = 103,680 s; culled 8,640 s of scoring and 537.6 of the rest: 11 times
    rows = [row(BOTH, 90), row("full", 90)]
    assert goals(rows, 86_400)[0].verdict == "contradicted"
    logged = row(BOTH, 89.5, variant="logged", scored_s=0.0)  # 193 times
    hundred, below_paper = goals([*rows, logged], 86_400)
    assert hundred.verdict == "shown"
    assert hundred.figures.startswith("confidence+precision n = 128 with logged: 193 times by the cost model")
    assert goals([*rows, row(BOTH, 88, variant="logged", scored_s=0.0)], 86_400)[0].verdict == "not shown"
    assert goals([*rows, row(BOTH, 80, variant="logged", scored_s=0.0)], 86_400)[0].verdict == "contradicted"
    assert below_paper.verdict == "not shown"
    ours = row(BOTH, 90, variant="paper", labelled_s=2000.0)
    assert goals([*rows, ours], 86_400)[1].verdict == "shown"  # 2,125.6 s over 637.6
    assert goals([*rows, row(BOTH, 90, variant="paper")], 86_400)[1].verdict == "contradicted"
    assert goals([row(BOTH, 90)], 86_400)[0].figures == "needs the full data set"


def test_spearman__ranks_ties_and_constants():
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert spearman([1, 2, 2, 3], [4, 3, 3, 1]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 1], [1, 2]))


def test_goals__the_untrained_student_is_no_candidate():
    rows = [row("untrained", 95), row("full", 80), row(BOTH, 70)]
    (first,) = [claim for claim in goals(rows, 86_400) if claim.key == "G1"]
    assert first.figures.startswith(f"{BOTH} n = 128: ")
    assert first.verdict == "contradicted"
