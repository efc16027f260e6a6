"""The training loop. It can be killed at any step and go on from the last checkpoint to the same weights.

B = images in a batch, K = boxes of one image; h, w = the network's input size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.training.augment import augment
from dataset_culling.training.checkpoint import (
    Checkpoints,
    Snapshot,
    UnusableCheckpoint,
    check_fits,
    load_optimizer,
    named,
    of,
    optimizer_tensors,
    pack,
    unpack,
)
from dataset_culling.training.choosing import Choosing
from dataset_culling.training.compacting import Compacting
from dataset_culling.training.techniques.distillation.feature_maps import FeatureDistillation
from dataset_culling.training.techniques.expand_nets.factors import contract, expand
from dataset_culling.training.freezing import early_layers, set_training_mode
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.data import CACHE_BYTES, Loader, Sample, TrainingSet, to_device
from dataset_culling.training.schedule import rate
from dataset_culling.training.techniques.selective_backprop.selection import Selector
from dataset_culling.training.together import mean_buffers, mean_gradients, mean_losses, of_all, share, world
from dataset_culling.types import Detections, ImageDetections, IntArray, Subset

__all__ = ["CACHE_BYTES", "Sample", "TrainingDiverged", "TrainingRecord", "TrainingSet", "train", "truth_of"]

SHARE_OF_TIME = 0.1
"""Checkpoints at the ends of epochs may take this share of the time; where they take longer, some ends go without."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What happened: the mean loss of each epoch, by part, over the images trained on, and the steps taken."""

    losses: tuple[dict[str, float], ...]
    steps: int
    resumed_at_step: int = 0  # how many of the steps an earlier process had taken
    watched_map: tuple[float, ...] = ()  # mAP@50:95 on the watched images after each epoch
    best_epoch: int = 0  # the epoch, counted from 1, whose weights were kept; 0: those of the end
    notes: tuple[str, ...] = ()
    subsets: tuple[Subset, ...] = ()  # what was looked at from which epoch on, where the recipe asks for subsets
    choosing_s: float = 0.0  # seconds that choosing them took this process
    images_backpropagated: tuple[int, ...] = ()  # of each epoch: all, or those that Selective-Backprop chose
    epoch_s: tuple[float, ...] = ()  # seconds of each epoch's steps


class TrainingDiverged(InputError):
    """The loss or its gradient became NaN or infinite."""


def train(
    detector: TorchDetector,
    samples: TrainingSet,
    recipe: Recipe,
    *,
    side_px: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoints: Checkpoints | None = None,
    watched: TrainingSet | None = None,
    teacher: TorchDetector | None = None,
    recorded: Sequence[Subset] = (),
) -> TrainingRecord:
    """Train a detector in place.

    Args:
        detector: Its module is changed, and left in eval mode; `prune` and `low_rank` leave it smaller.
        samples: At least one labelled image; images without boxes teach what background is.
        recipe: The knobs.
        side_px: Short side to train at; 0 is the detector's own.
        progress: Called after every step with steps done and steps in all.
        checkpoints: Where the state is kept; what lies there is gone on from, so it must be of this very training.
        watched: Labelled images that are not trained on: after each epoch mAP@50:95 is taken on them, training stops
            when it has not risen for `early_stop_patience` epochs, and the best epoch's weights are the result.
        teacher: Whose feature maps the detector's follow, where the recipe's `distillation` asks for that.
        recorded: What the recipe's `subset_replay` names, read: the subsets that another training has looked at.

    In a torch.distributed group (see `training.together`) every process gives the same arguments and gets the same
    weights; the first one keeps the checkpoints.

    Returns:
        Losses by epoch. Equal seed, data, device and number of processes give equal weights, also if the training was
        killed and went on.

    Raises:
        ValueError: If there is no sample.
        ConfigError: If the recipe asks for what the detector or the device cannot do.
        InputError: If no sample is one that the recorded subsets name.
        TrainingDiverged: If a loss or a gradient is not finite, with step and images; the last checkpoint stays.
    """
    if len(samples) == 0:
        raise ValueError("training needs at least one sample, got none")
    with _seeded(recipe.seed, detector.device):
        run = _Run(detector, samples, recipe, side_px, watched, checkpoints, teacher, recorded)
        try:
            run.resume()
            while run.epoch < recipe.epochs and not run.exhausted:
                run.one_epoch(progress)
            run.keep_best()
            run.note_idle()
        finally:
            run.release()
        run.compact()
    return TrainingRecord(
        losses=tuple(run.losses),
        steps=run.step,
        resumed_at_step=run.resumed_at,
        watched_map=tuple(run.watched_map),
        best_epoch=run.best_epoch,
        notes=tuple(run.notes),
        subsets=run.choosing.history(),
        choosing_s=run.choosing.seconds,
        images_backpropagated=tuple(run.images_backpropagated),
        epoch_s=tuple(run.epoch_s),
    )


@dataclass(slots=True)
class _Epoch:
    """Where a training stands inside an epoch."""

    order: IntArray  # of all samples; where it looks at a subset, of that
    done: int = 0  # batches
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0  # that were trained on
    seconds: float = 0.0  # of its steps


class _Run:
    """One training with all that changes during it."""

    def __init__(
        self,
        detector: TorchDetector,
        samples: TrainingSet,
        recipe: Recipe,
        side_px: int,
        watched: TrainingSet | None,
        checkpoints: Checkpoints | None,
        teacher: TorchDetector | None,
        recorded: Sequence[Subset] = (),
    ) -> None:
        self._detector, self._samples, self._recipe, self._side_px = detector, samples, recipe, side_px
        self._module = detector.module
        self._loader = Loader(detector, samples, side_px, soft_labels=recipe.soft_labels)
        self._watched, self._checkpoints = watched, checkpoints
        self._truth = truth_of(watched, detector.class_names) if watched is not None else None
        self._steps_per_epoch = len(self._loader.batches(np.arange(len(samples)), recipe.batch_size))
        self.choosing = Choosing(detector, samples, self._loader, recipe, recorded)
        self._total = sum(self.choosing.num_steps(epoch) for epoch in range(recipe.epochs))
        self._compute = compute_type(recipe.precision, detector.device)
        if recipe.soft_labels and not detector.weighs_labels:
            raise ConfigError(
                f"recipe.soft_labels: expected 0 for {detector.name}, whose loss takes every box alike, found "
                f"{recipe.soft_labels:g}. Set it to 0 or choose another student."
            )
        self._selector = Selector(recipe, len(samples)) if recipe.selective_backprop else None
        self._scaler = torch.amp.GradScaler(detector.device.type) if self._compute == torch.float16 else None
        self._frozen = early_layers(detector, recipe.frozen_layers)
        self._held = [weight for layer in self._frozen for weight in layer.parameters() if weight.requires_grad]
        for weight in self._held:
            weight.requires_grad_(False)
        self._distilled = self._distillation(teacher)
        self._compacting = Compacting.of(detector, recipe)
        if recipe.expand:  # when nothing is left that could refuse; before all that looks at the parameters
            expand(self._module, recipe.expand, seed=recipe.seed)
        self._optimizer = _optimizer(self._learners(), recipe)
        self._average = Average(self._module, recipe.ema_decay) if recipe.ema_decay else None
        self._random = np.random.default_rng(recipe.seed)
        self._best: dict[str, Tensor] = {}
        self._saved_s, self._saving_s = time.monotonic(), 0.0
        self._current: _Epoch | None = None
        self._epoch_rates = 0.0  # the sum over the last whole epoch's steps
        self.epoch = self.step = self.resumed_at = self.best_epoch = 0
        self.losses: list[dict[str, float]] = []
        self.watched_map: list[float] = []
        self.images_backpropagated: list[int] = []
        self.epoch_s: list[float] = []
        self.notes: list[str] = list(self.choosing.notes)

    @property
    def exhausted(self) -> bool:
        """Whether the watched images have not been better for as many epochs as the recipe's patience."""
        return bool(self.best_epoch) and self.epoch - self.best_epoch >= self._recipe.early_stop_patience

    def one_epoch(self, progress: Callable[[int, int], None]) -> None:
        """The rest of the current epoch, or a whole one."""
        if self._current is None:
            self.choosing.choose_if_due(self.epoch, self._compute)
        now = self._current = self._current or _Epoch(self._random.permutation(self.choosing.num_groups(self.epoch)))
        batches, counts = self.choosing.batches(self.epoch, now.order)
        set_training_mode(self._module, batch_norm=self._recipe.batch_norm, frozen=self._frozen)
        while now.done < len(batches):
            started_s = time.monotonic()
            learning_rate = self._learning_rate(now.done, len(batches), self.step)
            for name, value in self._one_step(batches[now.done], learning_rate, counts[now.done]).items():
                now.sums[name] = now.sums.get(name, 0.0) + value
            now.done += 1
            now.seconds += time.monotonic() - started_s
            self.step += 1
            progress(self.step, self._total)
            if now.done < len(batches):
                self._save_if_due()
        if self._compacting is not None:
            steps, before = len(batches), self.step - len(batches)
            self._epoch_rates = sum(self._learning_rate(done, steps, before + done) for done in range(steps))
            self._compacting.after_epoch(self._epoch_rates)
        self.losses.append({name: value / len(batches) for name, value in now.sums.items()})
        self.images_backpropagated.append(now.images)
        self.epoch_s.append(now.seconds)
        self._current = None
        self.epoch += 1
        self._watch()
        self._save_if_due(epoch_ends=True)

    def _learning_rate(self, done: int, steps: int, taken: int) -> float:
        """After `done` of an epoch's steps: epochs that look at less go as far along the schedule as others."""
        whole, epochs = self._steps_per_epoch, self._recipe.epochs
        place = self.epoch * whole + done * whole / steps
        return self._recipe.learning_rate * rate(place, epochs * whole, whole, self._recipe, taken=taken)

    def _one_step(self, rows: list[int], learning_rate: float, count: float = 1.0) -> dict[str, float]:
        """One step on a batch whose losses count so much; the losses themselves, by part."""
        device, recipe = self._detector.device, self._recipe
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        batch, targets = augment([self._loader[row] for row in rows], recipe, self._random)
        chosen = self._chosen(batch, targets, rows)
        part, weight = share(len(chosen))
        mine = [chosen[place] for place in part]
        batch, targets = batch[mine], [targets[place] for place in mine]
        with self._computing():
            batch = batch.to(device)
            with nullcontext() if self._distilled is None else self._distilled.watching():
                losses = dict(self._detector.losses(batch, [to_device(target, device) for target in targets]))
            if self._distilled is not None:
                losses["distillation"] = recipe.distillation * self._distilled.loss(batch)
        loss: Tensor = torch.stack([part.float() for part in losses.values()]).sum() * count
        values = mean_losses(losses, weight)
        if not math.isfinite(total := sum(values.values())):
            raise self._diverged("loss", total, rows)
        self._optimizer.zero_grad(set_to_none=True)
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        mean_gradients([one for one in self._learners().parameters() if one.requires_grad], weight)
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        # Measured even where nothing is clipped: one step along a NaN gradient would spoil weights and checkpoint.
        # The limit goes with the batch's weight, which clipping would otherwise take away again.
        norm = nn.utils.clip_grad_norm_(self._learners().parameters(), count * recipe.clip_norm or math.inf)
        if self._scaler is None:
            if not torch.isfinite(norm):
                raise self._diverged("gradient", norm.item(), rows)
            self._optimizer.step()
            stepped = True
        else:  # float16's gradients may overflow: the scaler leaves such a step out and lowers its scale
            scale = self._scaler.get_scale()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            stepped = self._scaler.get_scale() >= scale
        if self._compacting is not None and stepped:
            self._compacting.after_step(learning_rate)
        if recipe.batch_norm == "train":
            mean_buffers(self._module)
        if self._average is not None:
            self._average.update(self._module)
        return values

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Inside, the recipe's precision; expanded kernels are multiplied once."""
        autocast = torch.autocast(self._detector.device.type, self._compute, enabled=self._compute is not None)
        with autocast, parametrize.cached():
            yield

    def _chosen(self, batch: Tensor, targets: list[Target], rows: list[int]) -> list[int]:
        """Places in the batch of the images to train on: all, or Selective-Backprop's choice, the same everywhere."""
        assert self._current is not None
        chosen = list(range(len(rows)))
        if self._selector is not None and self._selector.chooses(self.epoch, self._current.done, len(rows)):
            mine, weight = share(len(rows))
            mine = mine if weight else []
            device = self._detector.device
            with torch.inference_mode(), self._computing():
                own = [to_device(targets[place], device) for place in mine]
                found = self._detector.losses_by_image(batch[mine].to(device), own) if mine else torch.zeros(0)
            losses = of_all(found.to(device), mine, len(rows)).double().cpu().numpy()
            if not math.isfinite(worst := float(losses.sum())):
                raise self._diverged("loss", worst, rows)
            chosen = self._selector.choose(losses, self._random)
        self._current.images += len(chosen)
        return chosen

    def _distillation(self, teacher: TorchDetector | None) -> FeatureDistillation | None:
        if not self._recipe.distillation:
            return None
        if teacher is None:
            raise ConfigError(
                "recipe.distillation: expected a teacher with feature maps, a torch detector, found none. "
                "Set it to 0 or choose another teacher."
            )
        height_px, width_px = self._loader[0].image.shape[-2:]
        return FeatureDistillation(self._detector, teacher, height_px=height_px, width_px=width_px)

    def _learners(self) -> nn.ModuleList:
        """All that learns: the student, and what brings its maps to the teacher's channels."""
        return nn.ModuleList([self._module, *([] if self._distilled is None else [self._distilled.adapters])])

    def _diverged(self, what: str, value: float, rows: list[int]) -> TrainingDiverged:
        names = ", ".join(self._samples.name(row) for row in rows)
        kept = f" The last checkpoint is kept: {self._checkpoints.where}." if self._checkpoints is not None else ""
        return TrainingDiverged(
            f"training: expected a finite {what}, found {value} at step {self.step} of {self._total} (epoch "
            f"{self.epoch + 1}, images {names}). Lower the learning rate ({self._recipe.learning_rate:g}).{kept}"
        )

    # -- early stop

    def _watch(self) -> None:
        """mAP on the watched images with the weights that would be the result now; remember the best."""
        if self._watched is None or self._truth is None:
            return
        own = {key: value.detach().clone() for key, value in self._module.state_dict().items()}
        self._settle()
        judged = self._detector if self._compacting is None else self._compacting.factorised()
        with parametrize.cached():  # expanded kernels are multiplied once, not for every image
            found = predictions_of(judged, self._watched, self._truth, side_px=self._side_px)
        score = evaluate(found, self._truth).map_50_95
        if not self.watched_map or score > max(self.watched_map):
            self.best_epoch = self.epoch
            self._best = {key: value.detach().clone() for key, value in self._module.state_dict().items()}
        self.watched_map.append(score)
        self._module.load_state_dict(own)

    def keep_best(self) -> None:
        """Put the result into the module: the best epoch's weights, else the mean of weights, else the last."""
        if self._best:
            self._module.load_state_dict(self._best)
        else:
            self._settle()

    def _settle(self) -> None:
        """Put what is the result of the steps so far into the module: the mean of weights, made smaller as they were.

        The mean was taken before the epoch's step of the nuclear norm, so it takes that step, too.
        """
        gone = self._compacting.gone() if self._compacting is not None else None
        if self._average is not None:
            self._average.copy_to(self._module)
            if self._compacting is not None:
                self._compacting.silence(gone)
                self._compacting.after_epoch(self._epoch_rates)

    def note_idle(self) -> None:
        """Say so where Selective-Backprop was asked for and nothing came of it."""
        if self._selector is not None and (idle := self._selector.idle()):
            self.notes.append(idle)

    def compact(self) -> None:
        """Take away what the result does not need; the last thing, as nothing that was kept fits afterwards."""
        if self._compacting is not None:
            self.notes += self._compacting.finish()

    def release(self) -> None:
        """Leave the module as it came: in eval mode, its layers as free to learn as before, its kernels whole."""
        contract(self._module)
        self._module.eval()
        for weight in self._held:
            weight.requires_grad_(True)

    # -- checkpoints

    def _save_if_due(self, *, epoch_ends: bool = False) -> None:
        if self._checkpoints is None or world()[0]:
            return
        since_s = time.monotonic() - self._saved_s
        cheap = since_s * SHARE_OF_TIME >= self._saving_s
        if not (since_s >= self._checkpoints.every_s or (epoch_ends and cheap)):
            return
        started_s = time.monotonic()
        if not all(bool(value.isfinite().all()) for value in self._module.state_dict().values()):
            return  # the next loss will say so; the last good checkpoint stays
        self._checkpoints.write(pack(self._snapshot()))
        self._saved_s = time.monotonic()
        self._saving_s = self._saved_s - started_s

    def _snapshot(self) -> Snapshot:
        tensors = {
            **named("model", self._module.state_dict()),
            **optimizer_tensors(self._optimizer),
            **named("best", self._best),
            "rng.cpu": torch.random.get_rng_state(),
        }
        if self._detector.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self._detector.device)
        facts: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.step,
            "total": self._total,
            "losses": self.losses,
            "watched_map": self.watched_map,
            "best_epoch": self.best_epoch,
            "images_backpropagated": self.images_backpropagated,
            "epoch_s": self.epoch_s,
            "epoch_rates": self._epoch_rates,
            "numpy": self._random.bit_generator.state,
            **self.choosing.facts(),
        }
        if self._distilled is not None:
            tensors |= named("adapters", self._distilled.adapters.state_dict())
        if self._average is not None:
            tensors |= named("average", self._average.state)
            facts["averaged"] = self._average.updates
        if self._selector is not None:
            tensors["selector.history"] = torch.from_numpy(self._selector.history)
        if self._scaler is not None:
            facts["scaler"] = self._scaler.state_dict()
        if self._current is not None:
            tensors["order"] = torch.from_numpy(self._current.order)
            facts["current"] = {
                "done": self._current.done,
                "sums": self._current.sums,
                "images": self._current.images,
                "seconds": self._current.seconds,
            }
        return Snapshot(tensors, facts)

    def resume(self) -> None:
        """Go on from what an earlier process has left; where that cannot be used, say so and start over."""
        data = self._checkpoints.read() if self._checkpoints is not None else None
        if data is None or self._checkpoints is None:
            return
        where = self._checkpoints.where
        try:
            snapshot = unpack(data, where=where)
            check_fits(self._module, of("model", snapshot.tensors), where=where)
            if snapshot.facts.get("total") != self._total:
                raise UnusableCheckpoint(f"{where}: expected {self._total} steps in all, found another number.")
        except UnusableCheckpoint as error:
            self.notes.append(f"{error} Training starts over.")
            return
        self._restore(snapshot)
        self.resumed_at = self.step
        self.notes.append(f"training goes on from step {self.step} of {self._total}")

    def _restore(self, snapshot: Snapshot) -> None:
        tensors, facts = snapshot.tensors, snapshot.facts
        self._module.load_state_dict(of("model", tensors))
        if self._distilled is not None:
            self._distilled.adapters.load_state_dict(of("adapters", tensors))
        load_optimizer(self._optimizer, tensors)
        self._best = of("best", tensors)
        torch.random.set_rng_state(tensors["rng.cpu"])
        if self._detector.device.type == "cuda" and "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self._detector.device)
        self._random.bit_generator.state = facts["numpy"]
        if self._average is not None:
            self._average.restore(of("average", tensors), facts["averaged"])
        if self._selector is not None:
            self._selector.history = tensors["selector.history"].numpy()
        if self._scaler is not None and "scaler" in facts:
            self._scaler.load_state_dict(facts["scaler"])
        self.choosing.restore(facts)
        self.epoch, self.step, self.best_epoch = facts["epoch"], facts["step"], facts["best_epoch"]
        self._epoch_rates = facts.get("epoch_rates", 0.0)  # checkpoints of earlier versions do not say it
        self.losses, self.watched_map = list(facts["losses"]), list(facts["watched_map"])
        self.images_backpropagated, self.epoch_s = list(facts["images_backpropagated"]), list(facts["epoch_s"])
        if "current" in facts:
            self._current = _Epoch(tensors["order"].numpy(), **facts["current"])


def truth_of(samples: TrainingSet, class_names: tuple[str, ...]) -> Detections:
    """The samples' labels as an evaluation takes them; frame ids are positions."""
    found, ignored = [], []
    for row in range(len(samples)):
        sample = samples[row]
        scores = np.ones(len(sample.class_ids), np.float32)
        found.append(ImageDetections(sample.boxes_xyxy, scores, sample.class_ids.astype(np.int64)))
        ignored.append(sample.ignore)
    truth = _as_detections(found, class_names)
    truth.ignore[:] = np.concatenate([np.zeros(0, np.bool_), *ignored])
    return truth


def predictions_of(
    detector: TorchDetector, samples: TrainingSet, truth: Detections, *, side_px: int, min_score: float = 0.01
) -> Detections:
    """What the detector sees in the samples, as an evaluation against `truth` takes it."""
    found = []
    for row in range(len(samples)):
        found += detector.predict([samples[row].image], side_px=side_px, min_score=min_score)
    return _as_detections(found, truth.class_names)


def _as_detections(found: list[ImageDetections], class_names: tuple[str, ...]) -> Detections:
    rows = np.arange(len(found))
    return Detections.from_images(found, frame_ids=rows, time_s=rows.astype(np.float64), class_names=class_names)


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """What autocast computes in; None for float32, which needs no autocast.

    Raises:
        ConfigError: For float16 on a CPU, whose gradients would be lost.
    """
    if precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision == "float16" and device.type != "cuda":
        raise ConfigError(f"recipe.precision: expected float32 or bfloat16 on a {device.type}, found float16.")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9)


class Average:
    """A running mean of the weights, quicker at the start: decay = min(decay, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay, self.updates = decay, 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Take one more step's weights in."""
        self.updates += 1
        keep = min(self._decay, (1 + self.updates) / (10 + self.updates))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value.detach(), 1 - keep)
            else:
                self.state[key].copy_(value)

    def copy_to(self, module: nn.Module) -> None:
        """Put the mean into the module."""
        module.load_state_dict(self.state)

    def restore(self, state: dict[str, Tensor], updates: int) -> None:
        """Go on from another process's mean."""
        for key, value in self.state.items():
            value.copy_(state[key])
        self.updates = updates


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside, since detectors sample proposals from the global one; restore them after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
