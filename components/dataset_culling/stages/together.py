"""Training by several processes at once, one for each GPU: torchrun's launcher, called from the stage.

Every process holds the whole student and the same draws, sees its share of each batch, and takes the same step along
the mean gradient (see `training.together`). The first one keeps checkpoints, reports progress and leaves the weights.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.compact import KEY, layers_in, layers_text
from dataset_culling.detectors.table import load_detector, load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.detectors.weights import read_weights
from dataset_culling.errors import ConfigError, CullingError, InputError
from dataset_culling.training.checkpoint import Checkpoints
from dataset_culling.training.loop import Sample, TrainingDiverged, TrainingRecord, TrainingSet, train
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import Detections, IntArray, Subset, parse_classes

POLL_S = 0.5
"""Seconds between two looks at how far the first process is."""


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """The selected frames with their labels, read one at a time (see `training.loop.TrainingSet`)."""

    frames: FrameReader
    labels: Detections
    rows: IntArray  # rows of `labels`, shape (K,), in the order of training

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Sample:
        row = int(self.rows[position])
        boxes = self.labels.image(row)
        image = self.frames.image(int(self.labels.frame_ids[row]))
        return Sample(image, boxes.boxes_xyxy, boxes.class_ids, self.labels.image_ignore(row), boxes.scores)

    def name(self, position: int) -> str:
        """The frame's id."""
        return f"frame {self.labels.frame_ids[int(self.rows[position])]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.frames.path, self.labels, self.rows)


def _reopened(path: Path, labels: Detections, rows: IntArray) -> LabelledFrames:
    return LabelledFrames(FrameReader(path), labels, rows)


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that one training needs; it travels to other processes, so it holds no network."""

    student: DetectorRef  # weights at hand
    classes: tuple[str, ...]
    teacher: DetectorRef  # looked through where the recipe's `distillation` asks for it
    recipe: Recipe
    samples: TrainingSet
    watched: LabelledFrames | None
    side_px: int
    checkpoints: Checkpoints | None
    recorded: tuple[Subset, ...] = ()  # what the recipe's `subset_replay` names


def num_processes(asked: int, device: str, batch_size: int) -> int:
    """How many processes train together.

    Args:
        asked: What the configuration says; 0: one for each GPU, or one on a CPU.
        device: "cpu", "cuda" or "cuda:N"; one named GPU is one process.
        batch_size: More processes than images would have nothing to do.

    Raises:
        ConfigError: If more are asked for than there are GPUs.
    """
    if not device.startswith("cuda"):
        return min(max(asked, 1), batch_size)
    here = torch.cuda.device_count() if device == "cuda" else 1
    if asked > here:
        raise ConfigError(
            f"processes: expected at most {here}, the number of GPUs that this training may use, found {asked}. "
            f"Set it to 0 to use them all, or give it more GPUs."
        )
    return min(asked or here, batch_size)


def learn(lesson: Lesson, student: TorchDetector, progress: Callable[[int, int], None]) -> TrainingRecord:
    """Train `student` in place, in this process."""
    return train(
        student,
        lesson.samples,
        lesson.recipe,
        side_px=lesson.side_px,
        progress=progress,
        checkpoints=lesson.checkpoints,
        watched=lesson.watched,
        teacher=teacher_of(lesson.recipe, lesson.teacher, str(student.device)),
        recorded=lesson.recorded,
    )


def learn_together(
    lesson: Lesson, student: TorchDetector, progress: Callable[[int, int], None], *, processes: int
) -> TrainingRecord:
    """Train in several processes on this machine and put the result into `student`.

    Raises:
        CullingError: What `train` raises, as the first process said it; `InputError` if one of them died.
    """
    with tempfile.TemporaryDirectory(prefix="culling-together-") as name:
        folder = Path(name)
        launch = elastic_launch(
            LaunchConfig(
                min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
                local_addr="localhost", start_method="spawn", max_restarts=0, run_id="training",
            ),
            _one_of_many,
        )  # fmt: skip
        with _Told(folder / "progress", progress):
            try:
                results = launch(lesson, student.device.type, str(folder))
            except ChildFailedError as error:
                rank, failure = error.get_first_failure()
                raise InputError(
                    f"training: expected {processes} processes to end well, found number {rank} ended with exit code "
                    f"{failure.exitcode}. Its log is above; set processes to 1 to train in one."
                ) from None
        found = results[0]
        if isinstance(found, TrainingRecord):
            state, said = read_weights(folder / "student.safetensors")
            where = "the trained student"
            student.load_state(state, where=where, layers=layers_in(said, where=where))
            return found
        raise _ERRORS.get(found[0], InputError)(found[1])


_ERRORS: dict[str, type[CullingError]] = {
    error.__name__: error for error in (TrainingDiverged, ConfigError, InputError)
}


def _one_of_many(lesson: Lesson, device_type: str, folder: str) -> TrainingRecord | tuple[str, str]:
    """What each process does; torchrun's launcher has set RANK and the like."""
    from torch import distributed

    rank = int(os.environ["RANK"])
    device = f"cuda:{os.environ['LOCAL_RANK']}" if device_type == "cuda" else "cpu"
    if device_type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(os.environ["WORLD_SIZE"])))
    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        student = load_trainable(lesson.student, device=device).specialise(parse_classes(lesson.classes))
        where = Path(folder) / "progress"
        record = learn(lesson, student, _teller(where) if rank == 0 else lambda done, total: None)
        if rank == 0:
            _save(student, Path(folder) / "student.safetensors")
        return record
    except CullingError as error:
        return type(error).__name__, str(error)
    finally:
        distributed.destroy_process_group()


def teacher_of(recipe: Recipe, ref: DetectorRef, device: str) -> TorchDetector | None:
    """The teacher whose feature maps the student follows; None where the recipe asks for none, or it has no maps."""
    if not recipe.distillation:
        return None
    teacher = load_detector(ref, device=device)
    return teacher if isinstance(teacher, TorchDetector) else None


def _save(student: TorchDetector, file: Path) -> None:
    from safetensors.torch import save_file

    save_file(student.state(), file, metadata={KEY: layers_text(student.layers())})


def _teller(file: Path) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(f"{done} {total}", encoding="ascii")
        beside.replace(file)

    return tell


class _Told:
    """Inside, a thread passes on how far the first process says it is."""

    def __init__(self, file: Path, progress: Callable[[int, int], None]) -> None:
        self._file, self._progress, self._over = file, progress, threading.Event()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _pass_on(self) -> None:
        last = ""
        while True:
            over = self._over.wait(POLL_S)
            said = self._file.read_text(encoding="ascii") if self._file.exists() else ""
            if said != last:
                done, total = said.split()
                self._progress(int(done), int(total))
                last = said
            if over:
                return
