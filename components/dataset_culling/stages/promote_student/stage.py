"""Promotion: the candidate goes into the camera's registry, and in front if it is better than what is there.

A camera's first model must beat the raw student; every other one the champion, on the same held-out frames. A champion
that was not measured on them is not replaced: nobody would know whether the camera gets worse.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dataset_culling
from dataset_culling.artifacts.decision import Decision, write_decision
from dataset_culling.artifacts.header import digest, read_header
from dataset_culling.artifacts.metrics import SCHEMA as METRICS_SCHEMA
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import SCHEMA as MODEL_SCHEMA
from dataset_culling.errors import ArtifactError, ChampionMoved
from dataset_culling.registry import Champion, Provenance, Registry, open_registry
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.promote_student.config import PromoteStudentConfig

RAW, TRAINED, CHAMPION = "map_50_raw", "map_50_trained", "map_50_champion"
CHAMPION_VERSION = "champion_version"
"""Optional figure: which version `map_50_champion` is of."""

_TRIES = 5


def run(config: PromoteStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read model and metrics; publish; compare; move the pointer; write what was decided and why."""
    metrics = read_metrics(inputs["metrics"])
    for name in (RAW, TRAINED):
        if name not in metrics:
            raise ArtifactError(
                f"{inputs['metrics']}: expected the figure {name}, found {', '.join(sorted(metrics)) or 'none'}. "
                f"Re-run evaluate-student."
            )
    decision = decide(config, inputs, metrics)
    write_decision(outputs["decision"], decision, context.origin(config, inputs))
    return StageReport(
        counts={"promoted": int(decision.promoted), "version": decision.version},
        figures={name: metrics[name] for name in (RAW, TRAINED, CHAMPION) if name in metrics},
        notes=(decision.reason,),
    )


def decide(config: PromoteStudentConfig, inputs: Inputs, metrics: Mapping[str, float]) -> Decision:
    """Publish and promote as the configuration says; the same inputs again, after a crash, give the same decision."""
    labels = dict(read_header(inputs["metrics"], METRICS_SCHEMA).inputs).get("labels", "")
    if not config.registry:
        verdict = compare(metrics, config.min_gain, Reference("the raw student", metrics[RAW]))
        reason = f"Not promoted: no registry was named, so nothing was kept; {verdict.text}."
        return Decision(False, reason, config.camera, 0, 0, 0)
    registry = open_registry(config.registry)
    version = _publish(config, registry, inputs, metrics, labels)
    first_seen = registry.champion(config.camera).version
    for _ in range(_TRIES):
        champion = registry.champion(config.camera)
        before = champion.version
        if version and before == version and champion.move is not None:  # an earlier try got as far as this
            return Decision(True, champion.move.reason, config.camera, version, champion.move.previous, version)
        reference = _reference(registry, config.camera, champion, metrics, labels, first_seen)
        verdict = compare(metrics, config.min_gain, reference)
        if verdict.better and version and _was_rolled_back(registry, config.camera, version):
            reason = f"Not promoted: somebody has rolled version {version} back before; {verdict.text}."
            return Decision(False, reason, config.camera, version, before, before)
        if not verdict.better or config.mode != "auto":
            return Decision(False, _words(config, verdict, version), config.camera, version, before, before)
        reason = f"Promoted: {verdict.text}."
        try:
            registry.promote(config.camera, version, expected=before, reason=reason)
        except ChampionMoved:  # another run was quicker: compare with its model
            continue
        return Decision(True, reason, config.camera, version, before, version)
    raise ChampionMoved(
        f"{config.registry}: expected the champion of camera '{config.camera}' to stay for a moment, found it moved "
        f"{_TRIES} times. Run one promotion of a camera at a time."
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """What the candidate is compared with; `map_50` is None where it was not measured on the same frames."""

    name: str
    map_50: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate is better, with the figures in words."""

    better: bool
    text: str


def compare(metrics: Mapping[str, float], min_gain: float, reference: Reference) -> Verdict:
    """Compare the candidate's mAP@50 with the reference's: better means more, and by `min_gain` at least."""
    trained = metrics[TRAINED]
    if reference.map_50 is None:
        return Verdict(
            False,
            f"mAP@50 is {trained:.3f} on the held-out frames, {metrics[RAW]:.3f} for the raw student, but "
            f"{reference.name}, was not measured on these frames, so nobody knows which is better",
        )
    gain = trained - reference.map_50
    # As printed: 0.71 - 0.70 is a little less than 0.01 in binary.
    better = gain > 0 and round(gain, 9) >= min_gain
    wanted = f"at least {min_gain:.3f} is wanted" if min_gain else "more than none is wanted"
    return Verdict(
        better,
        f"mAP@50 is {trained:.3f} on the held-out frames, {reference.map_50:.3f} for {reference.name}: "
        f"a gain of {gain:+.3f}, where {wanted}",
    )


def _reference(
    registry: Registry, camera: str, champion: Champion, metrics: Mapping[str, float], labels: str, first_seen: int
) -> Reference:
    if not champion.version:
        return Reference("the raw student", metrics[RAW])
    name = f"the champion, version {champion.version}"
    if CHAMPION in metrics and int(metrics.get(CHAMPION_VERSION, first_seen)) == champion.version:
        return Reference(name, metrics[CHAMPION])
    known = registry.version(camera, champion.version)
    if labels and known.provenance.labels.get("heldout") == labels:  # the very same frames and labels
        return Reference(name, known.metrics.get(TRAINED))
    return Reference(name, None)


def _was_rolled_back(registry: Registry, camera: str, version: int) -> bool:
    return any(move.kind == "rollback" and move.previous == version for move in registry.history(camera))


def _words(config: PromoteStudentConfig, verdict: Verdict, version: int) -> str:
    approve = f"culling models promote {config.camera} {version}"
    if verdict.better and config.mode == "manual":
        return f"Not promoted yet: {verdict.text}. It waits for approval: {approve}."
    if verdict.better:
        return f"Not promoted, as this is a dry run; it would be: {verdict.text}."
    return f"Not promoted: {verdict.text}."


def _publish(
    config: PromoteStudentConfig, registry: Registry, inputs: Inputs, metrics: Mapping[str, float], labels: str
) -> int:
    """The candidate's version; in a dry run 0, unless it has one already."""
    model = inputs["model"]
    if config.mode == "dry-run":
        wanted = digest(model)
        known = (found.version for found in registry.versions(config.camera) if found.model_digest == wanted)
        return next(known, 0)
    return registry.publish(config.camera, model, metrics, _provenance(config, registry, model, inputs, labels)).version


def _provenance(
    config: PromoteStudentConfig, registry: Registry, model: Path, inputs: Inputs, labels: str
) -> Provenance:
    """What the artifacts' headers say that the model was made of and measured on."""
    trained = read_header(model, MODEL_SCHEMA)
    measured = read_header(inputs["metrics"], METRICS_SCHEMA).inputs
    student = trained.config.get("student", {})
    start = student.get("weights", "") if isinstance(student, Mapping) else ""
    return Provenance(
        footage=_given(pool=trained.inputs.get("frames", ""), heldout=measured.get("frames", "")),
        labels=_given(pool=trained.inputs.get("labels", ""), heldout=labels),
        config=dict(trained.config),
        code_version=dataset_culling.__version__,
        image=os.environ.get("CULLING_IMAGE", ""),
        parent=registry.version_at(config.camera, str(start)) if start else 0,
    )


def _given(**digests: str) -> dict[str, str]:
    return {name: value for name, value in digests.items() if value}
