"""Promotion: the candidate is published, and becomes the camera's champion when it is better than what is there."""

from __future__ import annotations

from collections.abc import Mapping

from dataset_culling import __version__
from dataset_culling.artifacts.decision import Decision, write_decision
from dataset_culling.artifacts.header import digest, read_header
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.errors import InputError
from dataset_culling.registry import Registry
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.promote_student.config import PromoteStudentConfig


def run(config: PromoteStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read model and metrics, publish, decide, move the champion pointer, write the decision."""
    metrics = read_metrics(inputs["metrics"])
    better, reason = judge(metrics, min_gain=config.min_gain)
    number = before = after = 0
    promoted = False
    if config.registry and config.mode != "dry-run":
        registry = Registry(config.registry)
        champion = registry.champion(config.camera)
        before = after = champion.version
        version = registry.publish(
            config.camera,
            inputs["model"],
            metrics=metrics,
            provenance={
                "code_version": __version__,
                "config": dict(read_header(inputs["model"]).config),
                "inputs": dict(read_header(inputs["model"]).inputs),
                "metrics_digest": digest(inputs["metrics"]),
                "parent": before,
            },
        )
        number = version.number
        if number == before:  # this run was here already, and was interrupted after moving the pointer
            promoted, reason = True, f"version {number} is the champion already"
        elif better and config.mode == "auto":
            after = registry.promote(config.camera, number, expected=champion).version
            promoted = True
    if better and not promoted:
        waits = {"dry-run": "a dry run changes nothing", "manual": "a person decides"}.get(config.mode, "no registry")
        reason = f"{reason}; not promoted: {waits}"
    write_decision(
        outputs["decision"],
        Decision(promoted, reason, config.camera, number, before, after),
        context.origin(config, inputs),
    )
    return StageReport(counts={"promoted": int(promoted), "version": number}, notes=(reason,))


def judge(metrics: Mapping[str, float], *, min_gain: float) -> tuple[bool, str]:
    """Whether the candidate is better, and why, in a sentence.

    Args:
        metrics: map_50_trained; map_50_champion where a champion was evaluated on the same frames, else map_50_raw.
        min_gain: Least gain of mAP@50.

    Raises:
        InputError: If the figures are not there.
    """
    rival = "champion" if "map_50_champion" in metrics else "raw"
    if missing := [name for name in ("map_50_trained", f"map_50_{rival}") if name not in metrics]:
        raise InputError(f"metrics: expected {missing[0]}, found {', '.join(sorted(metrics)) or 'none'}.")
    mine, theirs = metrics["map_50_trained"], metrics[f"map_50_{rival}"]
    whom = "the champion" if rival == "champion" else "the raw student"
    gain = mine - theirs
    better = gain > 0 and gain >= min_gain
    wanted = f"at least {min_gain:.3f} was asked for" if min_gain else "any gain was asked for"
    return better, (
        f"mAP@50 {mine:.3f} against {theirs:.3f} of {whom} on the same held-out frames: "
        f"{'a gain' if gain >= 0 else 'a loss'} of {abs(gain):.3f}, {wanted}"
    )
