"""Promotion: the candidate goes into the camera's registry, and in front if it is better than what is there.

A camera's first model must beat the raw student; every other one the champion, on the same frames: tonight's held-out
part, and what earlier nights left (see `gate`). A champion that was not measured on them is not replaced: nobody would
know whether the camera gets worse.
"""

from __future__ import annotations

import os
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
    decision = decide(config, inputs, metrics, context)
    write_decision(outputs["decision"], decision, context.origin(config, inputs))
    return StageReport(
        counts={"promoted": int(decision.promoted), "version": decision.version},
        figures={name: metrics[name] for name in (RAW, TRAINED, CHAMPION) if name in metrics},
        notes=(decision.reason,),
    )


def decide(config: PromoteStudentConfig, inputs: Inputs, metrics: dict[str, float], context: StageContext) -> Decision:
    """Publish and promote as the configuration says; the same inputs again, after a crash, give the same decision.

    A champion that was not looked at in the evaluation, since another run promoted it meanwhile, is looked at now, on
    the same frames, where these are among the inputs.
    """
    labels = dict(read_header(inputs["metrics"], METRICS_SCHEMA).inputs).get("labels", "")
    if not config.registry:
        verdict = judge(metrics, config, Reference("the raw student", metrics[RAW]))
        reason = f"Not promoted: no registry was named, so nothing was kept; {verdict.text}."
        return Decision(False, reason, config.camera, 0, 0, 0, False, verdict.checks)
    registry = open_registry(config.registry)
    version = _publish(config, registry, inputs, metrics, labels)
    first_seen = registry.champion(config.camera).version
    for _ in range(_TRIES):
        champion = registry.champion(config.camera)
        before = champion.version
        if version and before == version and champion.move is not None:  # an earlier try got as far as this
            verdict = judge(metrics, config, _reference_before(champion, metrics))
            return Decision(
                True, champion.move.reason, config.camera, version, champion.move.previous, version, verdict.trusted,
                verdict.checks,
            )  # fmt: skip
        reference = _reference(champion, metrics, first_seen)
        if reference.map_50 is None and "frames" in inputs:
            # Not one figure of the champion that was is left: where the new one has none, nothing is compared.
            metrics = {name: value for name, value in metrics.items() if not _of_champion(name)}
            metrics |= look_again(inputs, config.camera, config.registry, before, context)
            reference = _reference(champion, metrics, first_seen)
        verdict = judge(metrics, config, reference)
        kept = verdict.trusted and config.mode != "dry-run"

        def refused(reason: str, kept: bool = kept, verdict: Verdict = verdict, before: int = before) -> Decision:
            return Decision(False, reason, config.camera, version, before, before, kept, verdict.checks)

        if verdict.better and version and _was_rolled_back(registry, config.camera, version):
            return refused(f"Not promoted: somebody has rolled version {version} back before; {verdict.text}.")
        if not verdict.better or config.mode != "auto":
            return refused(_words(config, verdict, version))
        reason = f"Promoted: {verdict.text}."
        try:
            registry.promote(config.camera, version, expected=before, reason=reason)
        except ChampionMoved:  # another run was quicker: compare with its model
            continue
        return Decision(True, reason, config.camera, version, before, version, verdict.trusted, verdict.checks)
    raise ChampionMoved(
        f"{config.registry}: expected the champion of camera '{config.camera}' to stay for a moment, found it moved "
        f"{_TRIES} times. Run one promotion of a camera at a time."
    )


def _of_champion(name: str) -> bool:
    return name.endswith("_champion") or name == CHAMPION_VERSION or "_over_champion_" in name


def look_again(inputs: Inputs, camera: str, registry: str, version: int, context: StageContext) -> dict[str, float]:
    """The figures of a champion that the evaluation has not seen, measured as the evaluation measures."""
    from dataset_culling.stages.evaluate_student.stage import measure_champion  # torch: needed only now

    settings = dict(read_header(inputs["metrics"], METRICS_SCHEMA).config)
    return measure_champion(settings | {"camera": camera, "registry": registry}, inputs, version, context)


def _reference_before(champion: Champion, metrics: Mapping[str, float]) -> Reference:
    """What the present champion was compared with when it was promoted, as far as the metrics tell."""
    previous = champion.move.previous if champion.move is not None else 0
    if previous and CHAMPION in metrics and int(metrics.get(CHAMPION_VERSION, previous)) == previous:
        return Reference(f"the champion, version {previous}", metrics[CHAMPION], "champion")
    return Reference("the raw student", metrics[RAW])


def _reference(champion: Champion, metrics: Mapping[str, float], first_seen: int) -> Reference:
    if not champion.version:
        return Reference("the raw student", metrics[RAW])
    name = f"the champion, version {champion.version}"
    if CHAMPION in metrics and int(metrics.get(CHAMPION_VERSION, first_seen)) == champion.version:
        return Reference(name, metrics[CHAMPION], "champion")
    return Reference(name, None, "champion")


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
    parent = int(read_model_card(model).training.get("parent", 0))
    return Provenance(
        footage=_given(pool=trained.inputs.get("frames", ""), heldout=measured.get("frames", "")),
        labels=_given(pool=trained.inputs.get("labels", ""), heldout=labels),
        config=dict(trained.config),
        code_version=dataset_culling.__version__,
        image=os.environ.get("CULLING_IMAGE", ""),
        parent=parent or (registry.version_at(config.camera, str(start)) if start else 0),
    )


def _given(**digests: str) -> dict[str, str]:
    return {name: value for name, value in digests.items() if value}
