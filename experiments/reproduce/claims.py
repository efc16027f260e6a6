"""The paper's claims S1 to S6, and our goals, judged by rule from the rows. No verdict is written by hand.

Differences of mAP are in points (0..100) of agreement with the teacher, as in the paper, by camera. Trainings on the
same frames (one arm and size, with and without an option) are paired by seed. Those on other frames have nothing in
common by a seed, so all seeds of the one stand beside all of the other: an unlucky one is not the verdict.
`noise` of a difference is twice its standard error over seeds, at least 1 point; 2 points where nothing has two
seeds, as nothing tells then how far seeds lie apart. Seconds are those of `cost.evened` rows.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.reproduce.arms import ARMS, VARIANTS
from experiments.reproduce.cost import mean, measured_times, projected_times
from experiments.reproduce.paper import TIMES
from experiments.reproduce.results import CurvePoint, Overlap, Row

Verdict = Literal["shown", "not shown", "contradicted"]

EVEN = 1.0
"""Points within which two mAPs count as the same: the paper calls -0.3 and +0.8 'little to no penalty'."""
LEAST_NOISE, NOISE_OF_ONE_SEED = 1.0, 2.0
MUCH = 2.0
"""Points that make 'much less'."""
SATURATED_FROM = 128
LOSS_THRESHOLD = 0.05
"""Change of the confidence loss that counts as its knee: the default of choose_resolution.threshold."""
GOAL_TIMES, GOAL_BELOW_PAPER = 100.0, 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and what our figures say to it."""

    key: str
    text: str
    verdict: Verdict
    figures: str
    rule: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Lead of one arm over another, in points."""

    value: float
    noise: float

    def __str__(self) -> str:
        return f"{self.value:+.1f} ± {self.noise:.1f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class Pick:
    """Selector of rows: an arm at a size, with or without optResolution, in a variant."""

    arm: str
    size: int = 0
    opt_resolution: str = "off"
    variant: str = "plain"

    def of(self, rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
        """Its rows by camera and seed."""
        wanted = (self.arm, self.size, self.opt_resolution, self.variant)
        return {
            (row.camera, row.seed): row
            for row in rows
            if (row.arm, row.size, row.opt_resolution, row.variant) == wanted and not math.isnan(row.agreement)
        }


def keeps_frames(pick: Pick) -> bool:
    """Check that frames and labels are those of the plain pick of its arm and size: only the training differs."""
    variant = VARIANTS[pick.variant]
    return not (variant.gate or variant.logged or variant.own_labels or variant.preset)


def difference(rows: Sequence[Row], more: Pick, less: Pick) -> Difference | None:
    """Mean over cameras of the differences in agreement, paired by seed where both train on the same frames.

    None where no camera has both; where they are paired, no camera and seed.
    """
    ones, others = more.of(rows), less.of(rows)
    if (more.arm, more.size) != (less.arm, less.size) or not (keeps_frames(more) and keeps_frames(less)):
        return apart(_points_by_camera(ones), _points_by_camera(others))
    by_camera: dict[str, list[float]] = {}
    for key in sorted(ones.keys() & others.keys()):
        by_camera.setdefault(key[0], []).append(100 * (ones[key].agreement - others[key].agreement))
    return combined(by_camera)


def combined(by_camera: dict[str, list[float]]) -> Difference | None:
    """The mean over cameras of each one's mean, and its noise from what seeds differ by within cameras.

    The variance of a seed is that of all cameras with several, pooled by degrees of freedom; a camera's mean of n seeds
    has 1/n of it. Cameras are taken as they are: nothing here says how others would do.
    """
    if not by_camera:
        return None
    several = [values for values in by_camera.values() if len(values) > 1]
    noise = NOISE_OF_ONE_SEED
    if several:
        free = sum(len(values) - 1 for values in several)
        variance = sum((len(values) - 1) * statistics.variance(values) for values in several) / free
        error = math.sqrt(variance * sum(1 / len(values) for values in by_camera.values())) / len(by_camera)
        noise = max(LEAST_NOISE, 2 * error)
    return Difference(statistics.fmean(map(statistics.fmean, by_camera.values())), noise)


def apart(ones: dict[str, list[float]], others: dict[str, list[float]]) -> Difference | None:
    """The mean over cameras of how much higher the mean of `ones` is, all seeds of each taken; None without a camera.

    The variance of a seed is pooled over cameras and both sides, as in `combined`. A side without two seeds anywhere
    says nothing of its own spread, so the noise is then at least that of one seed.

    Args:
        ones: By camera, points of each seed.
        others: The same of what they are held against.
    """
    cameras = sorted(ones.keys() & others.keys())
    if not cameras:
        return None
    groups = [side[camera] for camera in cameras for side in (ones, others)]
    free = sum(len(values) - 1 for values in groups)
    noise = NOISE_OF_ONE_SEED
    if free:
        variance = sum((len(values) - 1) * statistics.variance(values) for values in groups if len(values) > 1) / free
        error = math.sqrt(variance * sum(1 / len(values) for values in groups)) / len(cameras)
        single = any(all(len(side[camera]) == 1 for camera in cameras) for side in (ones, others))
        noise = max(NOISE_OF_ONE_SEED if single else LEAST_NOISE, 2 * error)
    value = statistics.fmean(statistics.fmean(ones[camera]) - statistics.fmean(others[camera]) for camera in cameras)
    return Difference(value, noise)


def _points_by_camera(found: dict[tuple[str, int], Row]) -> dict[str, list[float]]:
    by_camera: dict[str, list[float]] = {}
    for (camera, _), row in sorted(found.items()):
        by_camera.setdefault(camera, []).append(100 * row.agreement)
    return by_camera


def judge(rows: Sequence[Row], curves: Sequence[CurvePoint], overlaps: Sequence[Overlap], frames: int) -> list[Claim]:
    """Every claim, in order.

    Args:
        rows: All cells.
        curves: What optResolution looked at.
        overlaps: Which of precision's picks others miss.
        frames: What costs are projected to.
    """
    return [
        saturates(rows),
        orders_the_arms(rows),
        speeds_up_with_the_pool(rows, frames),
        helps_the_weak(rows),
        scales_down(rows, curves),
        picks_overlap(overlaps),
        *goals(rows, frames),
    ]


def sizes_of(rows: Sequence[Row], arm: str = "confidence+precision") -> list[int]:
    """Sizes at which the arm was run as in the paper, rising."""
    wanted = ("off", "plain")
    return sorted(
        {row.size for row in rows if row.arm == arm and (row.opt_resolution, row.variant) == wanted and row.size}
    )


def reference_size(rows: Sequence[Row]) -> int:
    """The size nearest to the ablation's 128 that most arms were run at; 0 where nothing was."""
    counts: dict[int, int] = {}
    for arm in {row.arm for row in rows}:
        for size in sizes_of(rows, arm):
            counts[size] = counts.get(size, 0) + 1
    return min(counts, key=lambda size: (-counts[size], abs(math.log(size / 128)), -size), default=0)


# --- the claims --------------------------------------------------------------------------------------------------


def saturates(rows: Sequence[Row]) -> Claim:
    """S1."""
    rule = (
        f"shown: the last doubling of n brings at most {EVEN:g} point and the largest n, {SATURATED_FROM} or more, is "
        f"within {EVEN:g} of full; contradicted: either fails by more than the noise"
    )
    text = "mAP(n) saturates by n = 128 to 256, and may pass the full data set's"
    sizes = sizes_of(rows)
    if len(sizes) < 2:
        return Claim("S1", text, "not shown", "needs confidence+precision at two sizes", rule)
    last, before = Pick("confidence+precision", sizes[-1]), Pick("confidence+precision", sizes[-2])
    gain, against_full = difference(rows, last, before), difference(rows, last, Pick("full"))
    if gain is None or against_full is None:
        return Claim("S1", text, "not shown", "needs two sizes and the full data set on one camera and seed", rule)
    figures = f"n = {sizes[-2]} to {sizes[-1]}: {gain}; n = {sizes[-1]} against full: {against_full}"
    if sizes[-1] < SATURATED_FROM:
        return Claim("S1", text, "not shown", f"{figures}; the claim is about n = 128 and more", rule)
    flat = _at_most(gain.value, EVEN, gain.noise)
    reaches = _at_most(-against_full.value, EVEN, against_full.noise)
    return Claim("S1", text, _all_of(flat, reaches), figures, rule)


def orders_the_arms(rows: Sequence[Row]) -> Claim:
    """S2."""
    text = "intermittent ≪ confidence < confidence + precision ≤ precision ≈ full, and cost in the same order"
    rule = (
        f"shown: confidence is at least {MUCH:g} points above intermittent, confidence + precision above confidence by "
        f"more than the noise, precision not {EVEN:g} below it and not {EVEN:g} below full, and seconds rise in that "
        f"order; contradicted: one of these is the other way by more than the noise, or the seconds are"
    )
    size = reference_size(rows)
    arms = {name: Pick(name, size) for name in ("uniform", "confidence-sum", "confidence+precision", "precision")}
    arms["full"] = Pick("full")
    if missing := [name for name, pick in arms.items() if not pick.of(rows)]:
        return Claim("S2", text, "not shown", f"not run at n = {size}: {', '.join(missing)}", rule)
    names = list(arms)
    steps = {(more, less): difference(rows, arms[more], arms[less]) for less, more in itertools.pairwise(names)}
    found = {key: step for key, step in steps.items() if step is not None}
    if len(found) < len(steps):
        return Claim("S2", text, "not shown", f"needs all arms on one camera at n = {size}", rule)
    over_uniform, over_confidence, over_both, full_over = found.values()
    verdicts: list[Verdict] = [
        "shown" if over_uniform.value >= MUCH else "contradicted" if over_uniform.value < -over_uniform.noise
        else "not shown",
        "shown" if over_confidence.value > over_confidence.noise
        else "contradicted" if over_confidence.value < -over_confidence.noise else "not shown",
        _at_most(-over_both.value, EVEN, over_both.noise),
        _at_most(abs(full_over.value), EVEN, full_over.noise),
    ]  # fmt: skip
    cameras = set.intersection(*({camera for camera, _ in pick.of(rows)} for pick in arms.values()))
    seconds = [
        mean(row.total_s for (camera, _), row in pick.of(rows).items() if camera in cameras) for pick in arms.values()
    ]
    verdicts.append("shown" if seconds == sorted(seconds) else "contradicted")
    figures = (
        f"n = {size}, {_cameras(cameras)}: "
        + "; ".join(f"{more} over {less} {step}" for (more, less), step in found.items())
        + f"; seconds {' : '.join(f'{value:.0f}' for value in seconds)}"
    )
    return Claim("S2", text, _all_of(*verdicts), figures, rule)


def speeds_up_with_the_pool(rows: Sequence[Row], frames: int) -> Claim:
    """S3."""
    text = "the speed-up falls as the pool shrinks (47 times at 86,400 frames, 6 at 3,600, same n)"
    rule = (
        "by measured speed-up at one n, cameras of the largest pool against those of the smallest: shown if 1.1 times "
    )
    rule += "or more, contradicted if 0.9 times or less"
    for size in sorted(sizes_of(rows), reverse=True):
        chosen = list(Pick("confidence+precision", size).of(rows).values())
        times = {row.camera: [] for row in chosen}  # type: dict[str, list[float]]
        for row in chosen:
            times[row.camera].append(measured_times(row, rows))
        pools = {row.camera: row.frames for row in chosen}
        known = {camera: mean(values) for camera, values in times.items() if not math.isnan(mean(values))}
        if not known:
            continue
        large, small = max(pools[camera] for camera in known), min(pools[camera] for camera in known)
        if large < 1.5 * small:
            continue
        at = {pool: mean(value for camera, value in known.items() if pools[camera] == pool) for pool in (large, small)}
        day = mean(projected_times(row, rows, frames) for row in chosen if row.frames == large)
        ratio = at[large] / at[small]
        figures = (
            f"n = {size}: {at[large]:.1f} times at {large:,} frames, {at[small]:.1f} at {small:,}, measured; projected "
            f"to {frames:,} frames {day:.0f}"
        )
        verdict: Verdict = "shown" if ratio >= 1.1 else "contradicted" if ratio <= 0.9 else "not shown"
        return Claim("S3", text, verdict, figures, rule)
    return Claim("S3", text, "not shown", "needs the full data set on cameras whose pools differ by half or more", rule)


def helps_the_weak(rows: Sequence[Row]) -> Claim:
    """S4."""
    text = "training gains most where the untrained student is weakest"
    rule = "Spearman's correlation of untrained agreement and gain over at least 4 cameras: shown at -0.5 or less, "
    rule += "contradicted at 0.5 or more. A gain is counted from where it starts, so chance alone leans to 'shown'"
    size = reference_size(rows)
    by_camera: dict[str, list[Row]] = {}
    for (camera, _), row in Pick("confidence+precision", size).of(rows).items():
        by_camera.setdefault(camera, []).append(row)
    raw = {camera: 100 * mean(row.raw_agreement for row in found) for camera, found in by_camera.items()}
    gain = {camera: 100 * mean(row.agreement for row in found) - raw[camera] for camera, found in by_camera.items()}
    figures = "; ".join(
        f"{camera} {raw[camera]:.1f} {gain[camera]:+.1f}" for camera in sorted(raw, key=raw.__getitem__)
    )
    if len(raw) < 4:
        return Claim("S4", text, "not shown", f"needs four cameras at one n; {figures or 'none'}", rule)
    rank = spearman(list(raw.values()), [gain[camera] for camera in raw])
    verdict: Verdict = "shown" if rank <= -0.5 else "contradicted" if rank >= 0.5 else "not shown"
    return Claim("S4", text, verdict, f"n = {size}, correlation {rank:+.2f}: {figures}", rule)


def scales_down(rows: Sequence[Row], curves: Sequence[CurvePoint]) -> Claim:
    """S5."""
    text = "optResolution scales down where objects are big, costs about a point, and its loss has its knee first"
    rule = (
        f"by the paper's judge (loss). Shown: Spearman's correlation of object size and scale is -0.3 or less over at "
        f"least 4 cameras, the loss of mAP is at most 1.5 points, and on 3 of 4 cameras the loss changes by more than "
        f"{LOSS_THRESHOLD:g} before or where mAP falls by more than {EVEN:g}. Contradicted: a correlation of 0.3 or "
        f"more, a loss above 1.5 by more than the noise, or the knee later on half of the cameras or more"
    )
    size = reference_size(rows)
    with_it = Pick("confidence+precision", size, "loss")
    found = with_it.of(rows)
    cost = difference(rows, Pick("confidence+precision", size), with_it)
    if cost is None:
        return Claim("S5", text, "not shown", f"needs optResolution by loss and none, at n = {size}", rule)
    cameras = sorted({camera for camera, _ in found})
    objects = {one: mean(row.object_px for (camera, _), row in found.items() if camera == one) for one in cameras}
    scales = {one: mean(row.scale for (camera, _), row in found.items() if camera == one) for one in cameras}
    verdicts: list[Verdict] = [_at_most(cost.value, 1.5, cost.noise)]
    rank = spearman(list(objects.values()), list(scales.values())) if len(cameras) >= 4 else math.nan
    verdicts.append("shown" if rank <= -0.3 else "contradicted" if rank >= 0.3 else "not shown")
    knees = [knee_first(points) for points in by_curve(curves).values()]
    known = [knee for knee in knees if knee is not None]
    share = mean(known)
    verdicts.append(
        "not shown" if not known else "shown" if share >= 0.75 else "contradicted" if share <= 0.5 else "not shown"
    )
    figures = (
        f"n = {size}: mAP lost {cost}; "
        + "; ".join(f"{one} objects {objects[one]:.0f} px, scale {scales[one]:.2f}" for one in cameras)
        + (f"; correlation {rank:+.2f}" if not math.isnan(rank) else "")
        + f"; loss first on {sum(known)} of {len(known)} curves with a knee of mAP"
    )
    return Claim("S5", text, _all_of(*verdicts), figures, rule)


def picks_overlap(overlaps: Sequence[Overlap]) -> Claim:
    """S6."""
    text = "of what precision alone picks, confidence alone misses more than half, confidence + precision a fifth"
    rule = (
        "means over cameras and seeds. Shown: more than 0.5 and at most 0.3; contradicted: 0.4 or less, 0.5 or more, "
    )
    rule += "or confidence + precision misses no less than confidence"
    missed = {
        arm: [one.missed_share for one in overlaps if one.arm == arm]
        for arm in ("confidence-sum", "confidence+precision")
    }
    if not all(missed.values()):
        return Claim(
            "S6", text, "not shown", "needs precision, confidence (sum) and confidence+precision at one n", rule
        )
    alone, both = mean(missed["confidence-sum"]), mean(missed["confidence+precision"])
    chance = mean(one.by_chance for one in overlaps)
    figures = f"confidence misses {alone:.0%}, confidence + precision {both:.0%}, random {chance:.0%}"
    verdict: Verdict = "not shown"
    if alone > 0.5 and both <= 0.3:
        verdict = "shown"
    elif alone <= 0.4 or both >= 0.5 or both >= alone:
        verdict = "contradicted"
    return Claim("S6", text, verdict, figures, rule)


def goals(rows: Sequence[Row], frames: int) -> list[Claim]:
    """Judge our own goals beyond the paper: G1 and G2."""
    no_loss = f"no more than {EVEN:g} point below full"
    text = f"at equal or better agreement than full, {GOAL_TIMES:g} times cheaper at {frames:,} frames"
    rule = f"shown: some arm, size and variant is projected {GOAL_TIMES:g} times cheaper or more and is {no_loss}; "
    rule += f"contradicted: some were run, and none that is {no_loss} within the noise is; the paper has {TIMES} times"
    picks = _picks(rows)
    measured = [(pick, difference(rows, pick, Pick("full"))) for pick in picks]
    beside_full = [(pick, step) for pick, step in measured if step is not None]
    first: Claim
    if not beside_full:
        first = Claim("G1", text, "not shown", "needs the full data set", rule)
    else:
        times = {
            pick: mean(projected_times(row, rows, frames) for row in pick.of(rows).values()) for pick, _ in beside_full
        }
        beside_full = [(pick, step) for pick, step in beside_full if not math.isnan(times[pick])]
        good = [(pick, step) for pick, step in beside_full if step.value >= -EVEN]
        maybe = [(pick, step) for pick, step in beside_full if step.value >= -EVEN - step.noise]
        best = max(good or maybe or beside_full, key=lambda item: times[item[0]])
        figures = f"{_named(best[0])}: {times[best[0]]:.0f} times by the cost model, {best[1]} against full"
        verdict: Verdict = "contradicted"
        if any(times[pick] >= GOAL_TIMES for pick, _ in good):
            verdict = "shown"
        elif any(times[pick] >= GOAL_TIMES for pick, _ in maybe):
            verdict = "not shown"
        first = Claim("G1", text, verdict, figures, rule)
    return [first, _below_paper(rows, picks)]


def _below_paper(rows: Sequence[Row], picks: Sequence[Pick]) -> Claim:
    """G2: measured, on the same cameras and sizes."""
    text = f"{GOAL_BELOW_PAPER:g} times cheaper than our own `paper` preset, measured, at equal or better agreement"
    rule = (
        f"shown: some arm or variant of the same n costs at most 1/{GOAL_BELOW_PAPER:g} and is no more than {EVEN:g} "
    )
    rule += "point below; contradicted: none does, noise included"
    papers = [pick for pick in picks if pick.variant == "paper"]
    found: list[tuple[float, Difference, Pick]] = []
    for paper in papers:
        for pick in picks:
            if pick.size != paper.size or pick.variant == "paper":
                continue
            step = difference(rows, pick, paper)
            cameras = {camera for camera, _ in pick.of(rows)} & {camera for camera, _ in paper.of(rows)}
            if step is not None:
                ours, theirs = (
                    mean(row.total_s for (camera, _), row in one.of(rows).items() if camera in cameras)
                    for one in (pick, paper)
                )
                found.append((theirs / ours, step, pick))
    if not found:
        return Claim("G2", text, "not shown", "needs the variant `paper` beside others of its n", rule)
    good = [one for one in found if one[1].value >= -EVEN]
    maybe = [one for one in found if one[1].value >= -EVEN - one[1].noise]
    times, step, pick = max(good or maybe or found, key=lambda one: one[0])
    verdict: Verdict = "contradicted"
    if any(one[0] >= GOAL_BELOW_PAPER for one in good):
        verdict = "shown"
    elif any(one[0] >= GOAL_BELOW_PAPER for one in maybe):
        verdict = "not shown"
    return Claim("G2", text, verdict, f"{_named(pick)}: {times:.1f} times cheaper, {step} points", rule)


# --- what they share ---------------------------------------------------------------------------------------------


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation with mean ranks for ties; NaN where one of the two does not vary."""
    ones, others = _ranks(first), _ranks(second)
    if len(set(ones)) < 2 or len(set(others)) < 2:
        return math.nan
    return statistics.correlation(ones, others)


def by_curve(curves: Sequence[CurvePoint]) -> dict[tuple[str, int, int], list[CurvePoint]]:
    """Points of each curve, scales falling."""
    found: dict[tuple[str, int, int], list[CurvePoint]] = {}
    for point in sorted(curves, key=lambda one: -one.scale):
        found.setdefault((point.camera, point.size, point.seed), []).append(point)
    return found


def knees(points: Sequence[CurvePoint]) -> tuple[float, float]:
    """The scales at which the loss is first over its threshold and mAP first a point below full size's; 0: never."""
    full = next((point.map_50 for point in points if point.scale == 1.0), -1.0)
    loss = next((point.scale for point in points if point.scale < 1 and point.loss_change > LOSS_THRESHOLD), 0.0)
    fall = next((point.scale for point in points if point.scale < 1 and 100 * (full - point.map_50) > EVEN), 0.0)
    return loss, fall


def knee_first(points: Sequence[CurvePoint]) -> bool | None:
    """Check that the loss changes before, or where, mAP falls; None where mAP does not fall."""
    loss, fall = knees(points)
    return None if fall == 0 else loss >= fall


def _picks(rows: Sequence[Row]) -> list[Pick]:
    found = {
        Pick(row.arm, row.size, row.opt_resolution, row.variant)
        for row in rows
        if ARMS[row.arm].trains and row.arm != "full"
    }
    return sorted(found, key=lambda pick: (pick.arm, pick.size, pick.opt_resolution, pick.variant))


def _named(pick: Pick) -> str:
    extra = [pick.variant] if pick.variant != "plain" else []
    extra += [f"optResolution by {pick.opt_resolution}"] if pick.opt_resolution != "off" else []
    return f"{pick.arm} n = {pick.size}" + (f" with {', '.join(extra)}" if extra else "")


def _at_most(value: float, bound: float, noise: float) -> Verdict:
    return "shown" if value <= bound else "contradicted" if value > bound + noise else "not shown"


def _all_of(*verdicts: Verdict) -> Verdict:
    """Contradicted if one is, shown if all are."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "shown" if all(verdict == "shown" for verdict in verdicts) else "not shown"


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


def _cameras(names: set[str]) -> str:
    return f"{len(names)} camera{'s' if len(names) != 1 else ''}"
