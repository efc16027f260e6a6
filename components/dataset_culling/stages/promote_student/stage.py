"""Promote-student stage: publish the candidate and make it the champion if it is better than the present one.

A camera's first model is compared with the raw student, every other one with the champion, on the same frames:
tonight's held-out part and the kept nights. A champion without figures on these frames is not replaced, as the camera
could get worse unnoticed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dataset_culling
from dataset_culling.artifacts.decision import Decision, write_decision
from dataset_culling.artifacts.header import digest, read_header
from dataset_culling.artifacts.metrics import SCHEMA as METRICS_SCHEMA
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import SCHEMA as MODEL_SCHEMA
from dataset_culling.artifacts.model import read_model_card
from dataset_culling.errors import ArtifactError, ChampionMoved
from dataset_culling.evaluation.promotion_rule import CHAMPION, RAW, TRAINED, Reference, Verdict, judge
from dataset_culling.registry.models import Champion, Provenance, Registry, open_registry
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.promote_student.config import PromoteStudentConfig

CHAMPION_VERSION = "champion_version"
"""Optional figure: the version that `map_50_champion` belongs to."""

_TRIES = 5


def run(config: PromoteStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read model and metrics, publish, compare, move the pointer, and write the decision with its reasons."""
    metrics = read_metrics(inputs["metrics"])
    for name in (RAW, TRAINED):
        if name not in metrics:
            raise ArtifactError(
                f"{inputs['metrics']}: expected the figure {name}, found {', '.join(sorted(metrics)) or 'no figures'}. "
                f"Re-run evaluate-student."
            )
    decision = decide(config, inputs, metrics, context)
    write_decision(outputs["decision"], decision, context.origin(config, inputs))
    return StageReport(
        counts={"promoted": int(decision.promoted), "version": decision.version},
        figures={name: metrics[name] for name in (RAW, TRAINED, CHAMPION) if name in metrics},
        notes=(decision.reason,),
    )


def decide(config: PromoteStudentConfig, inputs: Inputs, metrics: dict[str, float], context: StageContext) -> Decision:
    """Publish and promote as configured; the same inputs again, after a crash, give the same decision.

    If another run has promoted a champion since the evaluation, it is evaluated now on the same frames, where these are
    among the inputs.
    """
    if not config.registry:
        verdict = judge(metrics, config, _raw(metrics))
        reason = f"Not promoted: no registry was named, so nothing was kept; {verdict.text}."
        return Decision(False, reason, config.camera, 0, 0, 0, False, verdict.checks)
    registry = open_registry(config.registry)
    version = _publish(config, registry, inputs, metrics)
    first_seen = registry.champion(config.camera).version
    for _ in range(_TRIES):
        champion = registry.champion(config.camera)
        before = champion.version
        if version and before == version and champion.move is not None:  # an earlier attempt has promoted it
            previous = champion.move.previous
            was_measured = previous and int(metrics.get(CHAMPION_VERSION, previous)) == previous
            compared = _champion(previous, metrics) if was_measured and CHAMPION in metrics else _raw(metrics)
            verdict = judge(metrics, config, compared)
            return Decision(
                True, champion.move.reason, config.camera, version, previous, version, verdict.trusted, verdict.checks
            )
        reference = _reference(champion, metrics, first_seen)
        if reference.map_50 is None and "frames" in inputs:
            # The figures of the former champion go, so that none of them is taken for the new one's.
            metrics = {name: value for name, value in metrics.items() if not _of_champion(name)}
            metrics |= evaluate_champion(inputs, config.camera, registry, before, context)
            reference = _reference(champion, metrics, first_seen)
        verdict = judge(metrics, config, reference)
        promotes = verdict.better and config.mode == "auto"
        reason = f"Promoted: {verdict.text}." if promotes else _refusal(config, verdict, version)
        if verdict.better and version and _was_rolled_back(registry, config.camera, version):
            promotes, reason = False, f"Not promoted: version {version} has been rolled back before; {verdict.text}."
        if promotes:
            try:
                registry.promote(config.camera, version, expected=before, reason=reason)
            except ChampionMoved:  # another run has promoted meanwhile: compare with its model
                continue
        after = version if promotes else before
        trusted = verdict.trusted and config.mode != "dry-run"
        return Decision(promotes, reason, config.camera, version, before, after, trusted, verdict.checks)
    raise ChampionMoved(
        f"{config.registry}: the champion of camera '{config.camera}' was moved {_TRIES} times during this promotion. "
        f"Run one promotion of a camera at a time."
    )


def _of_champion(name: str) -> bool:
    return name.endswith("_champion") or name == CHAMPION_VERSION or "_over_champion_" in name


def evaluate_champion(
    inputs: Inputs, camera: str, registry: Registry, version: int, context: StageContext
) -> dict[str, float]:
    """Evaluate a champion that the evaluation has not measured, in the same way."""
    from dataset_culling.inference.held_out import measure_champion  # torch: needed only now

    settings = read_header(inputs["metrics"], METRICS_SCHEMA).config
    with tempfile.TemporaryDirectory(prefix="culling-champion-") as folder:
        model = registry.fetch_model(camera, version, Path(folder))
        return measure_champion(model, version, settings, inputs, device=context.device)


def _raw(metrics: Mapping[str, float]) -> Reference:
    return Reference("the raw student", metrics[RAW])


def _champion(version: int, metrics: Mapping[str, float]) -> Reference:
    return Reference(f"the champion, version {version}", metrics.get(CHAMPION), "champion")


def _reference(champion: Champion, metrics: Mapping[str, float], first_seen: int) -> Reference:
    """Return the model to compare with; without a figure if the metrics are of another champion."""
    if not champion.version:
        return _raw(metrics)
    measured = int(metrics.get(CHAMPION_VERSION, first_seen)) == champion.version
    return _champion(champion.version, metrics if measured else {})


def _was_rolled_back(registry: Registry, camera: str, version: int) -> bool:
    return any(move.kind == "rollback" and move.previous == version for move in registry.history(camera))


def _refusal(config: PromoteStudentConfig, verdict: Verdict, version: int) -> str:
    approve = f"culling models promote {config.camera} {version}"
    if verdict.better and config.mode == "manual":
        return f"Not promoted yet: {verdict.text}. It waits for approval: {approve}."
    if verdict.better:
        return f"Not promoted, as this is a dry run; it would be: {verdict.text}."
    return f"Not promoted: {verdict.text}."


def _publish(config: PromoteStudentConfig, registry: Registry, inputs: Inputs, metrics: Mapping[str, float]) -> int:
    """Return the candidate's version; in a dry run 0, unless it is published already."""
    model = inputs["model"]
    if config.mode == "dry-run":
        wanted = digest(model)
        known = (found.version for found in registry.versions(config.camera) if found.model_digest == wanted)
        return next(known, 0)
    return registry.publish(config.camera, model, metrics, _provenance(config, registry, model, inputs)).version


def _provenance(config: PromoteStudentConfig, registry: Registry, model: Path, inputs: Inputs) -> Provenance:
    """Read the model's origin from the headers of the artifacts."""
    trained = read_header(model, MODEL_SCHEMA)
    measured = read_header(inputs["metrics"], METRICS_SCHEMA).inputs
    student = trained.config.get("student", {})
    start = student.get("weights", "") if isinstance(student, Mapping) else ""
    parent = int(read_model_card(model).training.get("parent", 0))
    footage = {"pool": trained.inputs.get("frames", ""), "heldout": measured.get("frames", "")}
    labels = {"pool": trained.inputs.get("labels", ""), "heldout": measured.get("labels", "")}
    return Provenance(
        footage={name: digest for name, digest in footage.items() if digest},
        labels={name: digest for name, digest in labels.items() if digest},
        config=dict(trained.config),
        code_version=dataset_culling.__version__,
        image=os.environ.get("CULLING_IMAGE", ""),
        parent=parent or (registry.version_at(config.camera, str(start)) if start else 0),
    )
