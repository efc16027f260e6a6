"""optResolution: shrink the image by a factor again and again until the student grows unsure (paper, section 2.2)."""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.resolution import Resolution, ResolutionPoint, write_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.resolution.scale import choose_scale
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.choose_resolution.config import ChooseResolutionConfig
from dataset_culling.stages.detecting import ScanLog, local_weights, scan
from dataset_culling.strategies.confidence import frame_loss
from dataset_culling.types import FloatArray, parse_classes


def run(config: ChooseResolutionConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read the culled frames, look at them at falling sizes, write the choice and the curve."""
    frames = FrameReader(inputs["frames"])
    labels = read_labels(inputs["labels"])
    frame_ids = np.sort(read_selection(inputs["selection"]).frame_ids[: config.max_frames])
    student = load_trainable(local_weights(config.student), device=context.device)
    classes = parse_classes(config.classes)
    row = int(np.searchsorted(frames.table.frame_ids, frame_ids[0]))
    height, width = int(frames.table.height_px[row]), int(frames.table.width_px[row])
    full_side = min(student.network_size(height, width, config.student.side_px))
    steps = 0 if config.mode == "off" else config.max_steps
    sides = _sides(full_side, config.factor, steps, lambda side: min(student.network_size(height, width, side)))
    wanted = labels.take(labels.rows_of(frame_ids))
    agreement: dict[int, float] = {}
    log = ScanLog()
    watch = Stopwatch()

    def losses_at(scale: float) -> FloatArray:
        side = sides[scale]
        done = len(agreement) * len(frame_ids)
        found = scan(
            frames, frame_ids, student, classes, side_px=side, min_score=min(config.min_score, 0.05),
            batch_size=config.batch_size, log=log,
            progress=lambda now, _: context.progress(done + now, len(sides) * len(frame_ids)),
        )  # fmt: skip
        agreement[side] = evaluate(found, wanted).map_50
        return frame_loss(found, q=config.q, b=config.b, min_score=config.min_score)

    choice = choose_scale(losses_at, list(sides), threshold=config.threshold, whole_curve=config.mode == "curve")
    context.progress(1, 1)
    gflops = {scale: student.gflops(height, width, sides[scale]) for scale in choice.scales}
    chosen = sides[choice.scale]
    write_resolution(
        outputs["resolution"],
        Resolution(
            scale=choice.scale,
            side_px=chosen,
            full_side_px=full_side,
            threshold=config.threshold,
            gflops_full=gflops[1.0],
            gflops_chosen=gflops[choice.scale],
            reason=_reason(config, choice.scale, choice.scales, choice.changes),
            curve=tuple(
                ResolutionPoint(scale, sides[scale], change, gflops[scale], agreement[sides[scale]])
                for scale, change in zip(choice.scales, choice.changes, strict=True)
            ),
        ),
        context.origin(config, inputs),
    )
    return StageReport(
        counts={"frames": len(frame_ids), "scales": len(choice.scales), "side_px": chosen},
        figures={"seconds_per_frame": watch.seconds() / max(log.num_looked, 1)},
        notes=tuple(dict.fromkeys(log.notes)),
    )


def _sides(full_side: int, factor: float, steps: int, allowed) -> dict[float, int]:  # type: ignore[no-untyped-def]
    """Scale -> the network's short side, falling; sizes that the detector's limits make equal are tried once."""
    sides = {1.0: full_side}
    for step in range(1, steps + 1):
        side = allowed(max(1, round(full_side * factor**step)))
        if side < min(sides.values()):
            sides[round(side / full_side, 6)] = side
    return sides


def _reason(config: ChooseResolutionConfig, scale: float, scales: tuple[float, ...], changes: tuple[float, ...]) -> str:
    if config.mode == "off":
        return "full size, as asked"
    over = next((row for row, change in enumerate(changes) if change > config.threshold), None)
    if over is None:
        return f"the loss changed by no more than {max(changes):.3f} down to scale {scale:.2f}, the smallest tried"
    return (
        f"at scale {scales[over]:.2f} the loss changes by {changes[over]:.3f}, over the threshold of "
        f"{config.threshold:g}; {scale:.2f} is the last below it"
    )
