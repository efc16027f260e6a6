"""Write the report of a run: the page with pictures, and summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.decision import read_decision
from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import Header, digest, read_header
from dataset_culling.artifacts.labels import read_labels, read_worst
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import read_model_card
from dataset_culling.artifacts.report import PAGE, write_report
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.artifacts.timing import Timing, read_timing
from dataset_culling.errors import InputError
from dataset_culling.footage.near_duplicates import gate_cost
from dataset_culling.report.cull_losses import losses_of_all
from dataset_culling.report.run_data import Frames, Provenance, Run
from dataset_culling.report.run_page import build_page
from dataset_culling.report.summary import summarise
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.render_report.config import RenderReportConfig
from dataset_culling.strategies.base import CullInput
from dataset_culling.types import Selection


def run(config: RenderReportConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read all artifacts of a run, write page and summary."""
    found = read_run(inputs, camera=config.camera)
    summary = summarise(found)
    page = build_page(
        found,
        summary,
        num_pictures=config.num_pictures,
        picture_width_px=config.picture_width_px,
        min_score=config.min_score,
        max_bytes=config.max_page_bytes,
        progress=context.progress,
    )
    write_report(outputs["report"], page, summary, context.origin(config, inputs))
    page_bytes = (outputs["report"] / PAGE).stat().st_size
    return StageReport(counts={"page_bytes": page_bytes, "pictures": page.count("<image ")})


def read_run(inputs: Inputs, *, camera: str) -> Run:
    """Read the artifacts of a run and check that they belong together.

    Raises:
        ArtifactError: If an artifact is missing, of another kind or damaged.
        InputError: If the artifacts are of different runs.
    """
    headers = {name: read_header(path) for name, path in inputs.items()}
    timings = {name: timing for name, path in inputs.items() if (timing := read_timing(path)) is not None}
    scored, labels = read_detections(inputs["detections"]), read_labels(inputs["labels"])
    selection, kept = read_selection(inputs["selection"]), read_selection(inputs["kept"])
    parts = {name: _frames(inputs[name]) for name in ("pool", "heldout")}
    heldout_labels = read_labels(inputs["heldout_labels"])
    sides = {name: read_detections(inputs[name]) for name in ("raw", "trained")}
    for name, boxes in {"detections": scored, "heldout_labels": heldout_labels, **sides}.items():
        frames = parts["pool" if name == "detections" else "heldout"]
        if not np.array_equal(boxes.frame_ids, frames.frame_ids):
            raise InputError(
                f"{inputs[name]}: its frames are not the {len(frames)} frames of this run. Name the outputs of one run."
            )
    for name, ids, known in (
        ("selection", selection.frame_ids, scored.frame_ids),
        ("labels", labels.frame_ids, selection.frame_ids),
        ("kept", kept.frame_ids, labels.frame_ids),
    ):
        if (odd := np.setdiff1d(ids, known)).size:
            raise InputError(f"{inputs[name]}: frame {odd[0]} is not of this run. Name the outputs of one run.")
    pool = CullInput(scored)
    parts["pool"] = _with_gate_cost(parts["pool"], inputs["pool"], selection, kept)
    labelled = CullInput(scored.take(scored.rows_of(labels.frame_ids)), labels)
    return Run(
        camera=camera,
        pool=parts["pool"],
        heldout=parts["heldout"],
        scored=scored,
        selection=selection,
        selected_by=str(headers["selection"].config.get("strategy", "")),
        pool_loss=losses_of_all(pool, headers["selection"].config, selection),
        labels=labels,
        worst=read_worst(inputs["labels"]),
        kept=kept,
        kept_by=str(headers["kept"].config.get("strategy", "")),
        label_loss=losses_of_all(labelled, headers["kept"].config, kept),
        resolution=read_resolution(inputs["resolution"]),
        student=_detector(headers["detections"], "student"),
        teacher=_detector(headers["heldout_labels"], "teacher"),
        training=read_model_card(inputs["model"]).training,
        heldout_labels=heldout_labels,
        raw=sides["raw"],
        trained=sides["trained"],
        metrics=read_metrics(inputs["metrics"]),
        decision=read_decision(inputs["decision"]),
        costs={timing.task: timing for timing in timings.values()},
        provenance=[_provenance(name, path, headers[name], timings) for name, path in inputs.items()],
    )


def _frames(path: Path) -> Frames:
    reader = FrameReader(path)
    table = reader.table
    return Frames(table.frame_ids, table.time_s, table.start_utc, reader.image, reader.report)


def _with_gate_cost(pool: Frames, path: Path, selection: Selection, kept: Selection) -> Frames:
    """Add to the footage report the selected frames that dropping the marked near-duplicates would lose."""
    found = dict(pool.footage.get("near_duplicates", {}))
    dropped, like = FrameReader(path).near_duplicates
    if not np.isin(dropped, pool.frame_ids).any():  # already dropped, so their scores are unknown
        return pool
    for name, selected in (("selection", selection), ("kept", kept)):
        lost, without_alike = gate_cost(selected.frame_ids, dropped, like)
        found[name] = {"of": len(selected), "lost": lost, "without_alike": without_alike}
    return replace(pool, footage={**pool.footage, "near_duplicates": found})


def _detector(header: Header, role: str) -> str:
    """Return the display name of a detector from a stage's configuration."""
    detector = header.config.get(role)
    name = str(detector.get("name", role)) if isinstance(detector, Mapping) else role
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def _provenance(name: str, path: Path, header: Header, timings: Mapping[str, Timing]) -> Provenance:
    task = timings[name].task if name in timings else header.made_by
    return Provenance(
        output=f"{task}.{name}",
        schema=header.schema,
        made_by=header.made_by,
        digest=digest(path),
        config=header.config,
        inputs=header.inputs,
        counts=header.counts,
        num_bytes=sum(int(entry["bytes"]) for entry in header.files.values()),
    )
