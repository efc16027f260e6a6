"""Candidates for a camera's student: trained briefly on a finished run's culled set, judged on its held-out frames,
timed on this machine.

Source of the idea: Hirner, Transfer Learning for Fun and Profit (2017): choose the model on the task's own data along
the Pareto curve of accuracy and compute.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from dataset_culling import __version__
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.config import parse_config
from dataset_culling.detectors.base import Detector, DetectorRef, Precision, free_memory, ran_out_of_memory
from dataset_culling.detectors.table import DETECTORS, files_of, weights_at_hand
from dataset_culling.engine.fingerprint import fingerprint
from dataset_culling.engine.finished import TRAINING, check_classes, config_of, inputs_of
from dataset_culling.errors import ConfigError, CullingError, InputError, WeightsError
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.inference.detect import ScanLog, local_file, scan
from dataset_culling.pipeline.graph import external_inputs
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.stages.evaluate_student.stage import read_truth
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.stages.train_student.stage import Material, read_material
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.storage.atomic import check_writable
from dataset_culling.training.fit import fit_student
from dataset_culling.training.loop import TrainingDiverged
from dataset_culling.training.subset_files import source_of
from dataset_culling.tuning.candidates import Candidate
from dataset_culling.tuning.results import JSON, Facts, Results, Row, StudentsConfig, read_rows
from dataset_culling.types import ClassMap, Detections, ImageArray, parse_classes

WARM_UP, ROUNDS = 10, 60
"""Images before the clock counts, and images that count."""
TIMED_FRAMES = 12
"""Different frames that are timed in turn: an R-CNN takes longer where it sees more."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Training, evaluation and timing data shared by all candidates."""

    run: Path
    config: StudentsConfig
    training: TrainStudentConfig
    material: Material
    evaluation: EvaluateStudentConfig
    heldout: FrameReader
    labels: Detections
    truth: Detections | None
    device: str
    facts: Facts


def search_students(
    ground: Ground, candidates: Sequence[Candidate], left_out: dict[str, str], out: Path, *, again: bool, quiet: bool
) -> Results:
    """Try every candidate without a row in `out`, and write the results there after each.

    Args:
        ground: The run's data, and how each is trained and timed.
        candidates: Detectors to try.
        left_out: Detectors not tried -> reason; candidates that fail are added.
        out: Folder of the files.
        again: Try also those that have a row.
        quiet: Show no progress.

    Raises:
        InputError: If no candidate could be tried.
        OutputError: If the files cannot be written.
    """
    wanted = {key_of(ground.facts.key, candidate): candidate for candidate in candidates}
    earlier = {row.key: row for row in read_rows(out / JSON)}
    check_writable(out)  # before the first training, not after it
    results = Results(ground.run, ground.config, ground.facts, (), left_out)
    for key, candidate in wanted.items():
        row = None if again else earlier.get(key)
        if row is None:
            try:
                row = try_candidate(candidate, ground, key=key, quiet=quiet)
            except (WeightsError, ConfigError, TrainingDiverged) as error:
                left_out[candidate.name] = str(error)
            except (MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
                left_out[candidate.name] = (
                    f"expected memory to train it at {ground.facts.side_px} px, found too little on {ground.device}; "
                    f"try --set recipe.batch_size {max(1, ground.training.recipe.batch_size // 2)}"
                )
        if row is None:
            free_memory()  # here, where no traceback holds on to what was allocated
            continue
        earlier.pop(key, None)
        # Those that follow may have been tried before: what stops this now must not lose them.
        results = replace(results, rows=(*results.rows, row), earlier=tuple(earlier.values()))
        results.write(out)
    if not results.rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"{ground.run}: no candidate can be tried ({reasons})")
    results.write(out)  # the last candidates may have been left out
    return results


def read_ground(run: Path, training: TrainStudentConfig, config: StudentsConfig, *, device: str) -> Ground:
    """Read what the candidates share: the culled set, the held-out frames with labels, true boxes where known.

    Raises:
        InputError: If an artifact is gone, no frame was kept, or there is nothing on the held-out frames.
        ConfigError: If true boxes are to be gone by and the run has none, the engine cannot run there, or the run's
            frames are labelled with other classes.
    """
    if config.engine == "openvino" and device != "cpu":
        raise ConfigError(f"--engine openvino: expected --device cpu, which it runs on, found {device}. Pass that.")
    notes: list[str] = []
    if source_of(training.recipe):  # for as many epochs as that training had, and for one student
        notes.append("recipe.techniques.recorded_subsets is left out: every candidate trains on all frames")
    # So few epochs need no early stop, and all train on all.
    recipe = training.recipe.replace(subset_replay="", epochs=config.epochs, seed=config.seed, early_stop_share=0.0)
    training = training.replace(recipe=recipe, start="base", checkpoints="")
    inputs = inputs_of(run, TRAINING)
    heldout_inputs = inputs_of(run, "evaluate-student")
    settings = {**config_of(run, "evaluate-student", "metrics"), "classes": list(training.classes)}
    evaluation = parse_config(EvaluateStudentConfig, settings, where="evaluate-student")
    heldout, labels = FrameReader(heldout_inputs["frames"]), read_labels(heldout_inputs["labels"])
    if not np.any(~labels.ignore):
        raise InputError(f"{heldout_inputs['labels']}: no objects on the held-out frames. Use longer footage.")
    check_classes(training, labels)
    truth = None
    if evaluation.truth:
        try:
            table = heldout.table
            file, classes = local_file(evaluation.truth), parse_classes(training.classes)
            truth = read_truth(file, classes, table.time_s, table.frame_ids)
        except CullingError as error:
            notes.append(f"no accuracy: {error}")
    if config.judge == "truth" and truth is None:
        raise ConfigError(f"--judge truth: {run} has no true boxes. Use agreement.")
    engine = engine_of(config.engine, device, evaluation.precision)
    lesson = training.replace(student=DetectorRef(name="tiny"))  # all but who learns
    files = (*external_inputs(lesson), *([evaluation.truth] if truth is not None else []))
    shared = {
        "version": __version__,
        "training": lesson.model_dump(mode="json"),
        "files": {file: fingerprint(file) for file in files},
        "inputs": {name: digest(place) for name, place in sorted(inputs.items())},
        "heldout": [digest(heldout_inputs[name]) for name in ("frames", "labels")],
        "evaluation": [evaluation.min_score, evaluation.batch_size, evaluation.precision],
        "engine": engine,
        "rounds": [WARM_UP, ROUNDS, TIMED_FRAMES],
    }
    key = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
    material = read_material(training, inputs)
    facts = Facts(
        side_px=material.side_px, frames=len(material.samples), heldout_frames=len(heldout), rounds=ROUNDS,
        knows_truth=truth is not None, engine=engine, notes=tuple(notes), key=key,
    )  # fmt: skip
    return Ground(run, config, training, material, evaluation, heldout, labels, truth, device, facts)


def key_of(ground_key: str, candidate: Candidate) -> str:
    """A digest of all that decides a candidate's figures; of files and objects what `fingerprint` says counts.

    Args:
        ground_key: Digest of what all candidates share.
        candidate: With weights at its own place: a file, a folder, an object or a published name.
    """
    ref = candidate.ref
    files = list(files_of(ref))
    if not ref.weights and not DETECTORS[ref.name].default_weights:
        files.append(weights_at_hand(ref.name))  # a file put into torch's cache by hand
    found = {file: fingerprint(file) for file in files if file}
    text = json.dumps([ground_key, candidate.name, ref.model_dump(mode="json"), found], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def engine_of(engine: str, device: str, precision: Precision) -> str:
    """Describe what is timed: library, device, threads or precision."""
    if engine == "openvino":
        import openvino

        library = f"OpenVINO {openvino.__version__.split('-')[0]}"
    else:
        library = f"torch {torch.__version__.split('+')[0]}"
    if device.startswith("cuda"):
        half = "bfloat16" if precision == "bfloat16" or torch.cuda.is_bf16_supported() else "float16"
        numbers = "float32" if precision == "float32" else half
        return f"{library}, {torch.cuda.get_device_name(torch.device(device))}, {numbers}"
    cores = len(os.sched_getaffinity(0))
    # OpenVINO takes the cores that it may use; torch has a number of its own.
    threads = cores if engine == "openvino" else torch.get_num_threads()
    return f"{library}, {_processor()}, {threads} of {cores} cores"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(named, "") or platform.machine()


def try_candidate(candidate: Candidate, ground: Ground, *, key: str, quiet: bool) -> Row:
    """Train a candidate, run it on the held-out frames, time it.

    Raises:
        WeightsError: If its weights cannot be had.
        ConfigError: If it has none of the camera's classes, or cannot be trained or exported as configured.
        TrainingDiverged: If its loss is not finite.
    """
    side_px, heldout, evaluation = ground.material.side_px, ground.heldout, ground.evaluation
    learning = ground.training.replace(student=candidate.ref)
    with _bar(f"{candidate.name}: training", quiet) as progress:
        taught = fit_student(
            learning, ground.material.samples, side_px=side_px, device=ground.device, progress=progress
        )
    student = taught.student
    same = ClassMap({name: (name,) for name in student.class_names})
    with _bar(f"{candidate.name}: judging", quiet) as progress:
        found = scan(
            heldout, heldout.table.frame_ids, student, same, side_px=side_px, min_score=evaluation.min_score,
            batch_size=evaluation.batch_size, log=ScanLog(), precision=evaluation.precision, progress=progress,
        )  # fmt: skip
    agreement = evaluate(found, ground.labels)
    accuracy = evaluate(found, ground.truth) if ground.truth is not None else None
    # Frames of the usual size, spread over the held-out ones, are timed.
    sizes = np.stack([heldout.table.height_px, heldout.table.width_px])
    found_sizes, counts = np.unique(sizes, axis=1, return_counts=True)
    usual = found_sizes[:, counts.argmax()]
    height_px, width_px = int(usual[0]), int(usual[1])
    rows = np.flatnonzero((sizes == usual[:, None]).all(axis=0))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, TIMED_FRAMES).astype(np.int64))]
    images = [heldout.image(int(heldout.table.frame_ids[row])) for row in rows]
    served: Detector = student
    if ground.config.engine == "openvino":
        from dataset_culling.detectors.accelerated import AcceleratedDetector

        served = AcceleratedDetector(
            student, height_px=height_px, width_px=width_px, side_px=side_px, min_score=evaluation.min_score
        )
    median_ms, p90_ms = latency_of(
        served, images, side_px=side_px, min_score=evaluation.min_score, precision=evaluation.precision
    )
    input_height, input_width = student.network_size(height_px, width_px, side_px)
    return Row(
        student=candidate.name,
        is_teacher=candidate.is_teacher,
        map_50_agreement=float(agreement.map_50),
        map_50_95_agreement=float(agreement.map_50_95),
        map_50_truth=_known(accuracy.map_50 if accuracy is not None else -1),
        map_50_95_truth=_known(accuracy.map_50_95 if accuracy is not None else -1),
        latency_ms=median_ms,
        latency_p90_ms=p90_ms,
        gflops=student.gflops(height_px, width_px, side_px),
        million_parameters=student.num_parameters() / 1e6,
        input_height_px=input_height,
        input_width_px=input_width,
        train_s=taught.seconds,
        steps=taught.record.steps,
        key=key,
    )


@contextmanager
def _bar(label: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    with click.progressbar(length=100, label=label, hidden=quiet, file=sys.stderr) as bar:
        yield lambda done, total: bar.update(100 * done // max(total, 1) - bar.pos)


def _known(value: float) -> float | None:
    return float(value) if value >= 0 else None


def latency_of(
    detector: Detector, images: Sequence[ImageArray], *, side_px: int, min_score: float, precision: Precision
) -> tuple[float, float]:
    """Measure a detector's milliseconds from an image at the network's size to its boxes, one image at a time.

    Decoding and resizing are not in it, copying to a GPU and back is.

    Args:
        detector: As it would be served.
        images: Shown in turn, at least one.
        side_px: Short side of the network's input.
        min_score: Least score of a box.
        precision: Number format of the network.

    Returns:
        The median of `ROUNDS` images after `WARM_UP`, and the 90th percentile.
    """
    detector.ready(precision)
    inputs = [[detector.prepare(image, side_px=side_px)] for image in images]
    taken = []
    for place in range(WARM_UP + ROUNDS):
        watch = Stopwatch()
        detector.detect(inputs[place % len(inputs)], min_score=min_score)
        taken.append(1000 * watch.seconds())
    median, p90 = np.percentile(taken[WARM_UP:], [50, 90])
    return float(median), float(p90)
