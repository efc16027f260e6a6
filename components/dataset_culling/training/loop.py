"""The training loop. A killed training resumes at its last checkpoint and ends with the same weights.

The loop knows no technique: techniques take part through the hooks of `training.hooks`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.training.augment import augment
from dataset_culling.training.checkpoint import Checkpoints
from dataset_culling.training.data import Loader, TrainingSet, to_device
from dataset_culling.training.early_stop import EarlyStop
from dataset_culling.training.freezing import early_layers, set_training_mode
from dataset_culling.training.hooks import Batch, Technique, Training
from dataset_culling.training.optimizer import Average, Stepper, compute_type
from dataset_culling.training.progress import Epoch, Progress
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.saver import Generators, Saver, Stateful
from dataset_culling.training.schedule import schedule_share, warmup_share
from dataset_culling.training.techniques.base import TechniqueConfig
from dataset_culling.training.techniques.table import hook_class
from dataset_culling.types import Subset


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """Results of a training besides the weights."""

    losses: tuple[dict[str, float], ...]  # of each epoch: mean by part over its steps
    steps: int
    resumed_at_step: int = 0  # steps that an earlier process took
    watched_map: tuple[float, ...] = ()  # mAP@50:95 on the watched images after each epoch
    best_epoch: int = 0  # the epoch, counted from 1, whose weights were kept; 0: those of the end
    notes: tuple[str, ...] = ()
    subsets: tuple[Subset, ...] = ()  # trained on from which epoch on; empty: everything
    images_backpropagated: tuple[int, ...] = ()  # of each epoch
    epoch_s: tuple[float, ...] = ()  # seconds of each epoch's steps
    figures: Mapping[str, float] = field(default_factory=dict)  # techniques' measurements
    card: Mapping[str, Any] = field(default_factory=dict)  # techniques' entries for the model's card


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
        detector: Its module is changed and left in eval mode; some techniques leave it smaller.
        samples: At least one labelled image; images without boxes show background.
        recipe: The options.
        side_px: Short side to train at; 0 is the detector's own.
        progress: Called after every step with steps done and steps in all.
        checkpoints: Store of the state. A state found there is resumed, so it must be of this very training.
        watched: Labelled images for early stop: after each epoch mAP@50:95 is measured on them. Training ends when
            it has not risen for `early_stop_patience` epochs, and the best epoch's weights are the result.
        teacher: Detector whose feature maps the student follows, for techniques that need it.
        recorded: Subsets of another training, for techniques that replay them.

    Returns:
        Losses by epoch and more. Equal seed, data and device give equal weights, also after a kill and a resume.

    Raises:
        ValueError: If `samples` is empty.
        ConfigError: If the recipe asks for what the detector or the device cannot do.
        InputError: If no sample is in the recorded subsets.
        TrainingDiverged: If a loss or a gradient is not finite, with step and images; the last checkpoint stays.
    """
    if len(samples) == 0:
        raise ValueError("training needs at least one sample, got none")
    if problem := recipe.problem():
        raise ConfigError(f"recipe.{problem}")
    with _seeded(recipe.seed, detector.device):
        run = _Run(detector, samples, recipe, side_px, watched, checkpoints, teacher, recorded)
        try:
            run.resume()
            while not run.is_over:
                run.one_epoch(progress)
            run.keep_best()
        finally:
            run.release()
        run.finish()
        return run.record()


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
        recorded: Sequence[Subset],
    ) -> None:
        self._detector, self._samples, self._recipe, self._checkpoints = detector, samples, recipe, checkpoints
        self._module = detector.module
        if recipe.soft_labels and not detector.weighs_labels:
            raise ConfigError(
                f"recipe.soft_labels: expected 0 for {detector.name}, whose loss weighs every box alike, found "
                f"{recipe.soft_labels:g}. Set it to 0 or choose another student."
            )
        compute = compute_type(recipe.precision, detector.device)
        self._loader = Loader(detector, samples, side_px, soft_labels=recipe.soft_labels)
        self._steps_per_epoch = len(self._loader.batches(np.arange(len(samples)), recipe.batch_size))
        self._random = np.random.default_rng(recipe.seed)
        self._frozen = early_layers(detector, recipe.frozen_layers)
        self._held = [weight for layer in self._frozen for weight in layer.parameters() if weight.requires_grad]
        for weight in self._held:
            weight.requires_grad_(False)
        self._training = Training(
            detector, samples, self._loader, recipe, self._random, compute, self._steps_per_epoch, teacher, recorded
        )
        on = recipe.techniques.on()
        self._techniques = {name: hook_class(name)(config, self._training) for name, config in on.items()}
        self._hooks = list(self._techniques.values())
        choosers = [hook for hook in self._hooks if hook.config.chooses_batches]
        self._batches = choosers[0] if choosers else Technique(TechniqueConfig(), self._training)
        self._total = sum(self._batches.num_steps(epoch) for epoch in range(recipe.epochs))
        self._early_stop = EarlyStop(watched, detector, side_px) if watched is not None else None
        for hook in self._hooks:  # nothing refuses from here on
            hook.before_training()
        others = [learner for hook in self._hooks if (learner := hook.learners()) is not None]
        self._stepper = Stepper(nn.ModuleList([self._module, *others]), recipe, compute, detector.device)
        self._average = Average(self._module, recipe.ema_decay) if recipe.ema_decay else None
        self._progress = Progress(self._training)
        self._resumed_at = 0
        parts: dict[str, Stateful | None] = {
            "progress": self._progress,
            "random": Generators(self._random, detector.device),
            "optimizer": self._stepper,
            "average": self._average,
            "early_stop": self._early_stop,
            **{f"technique.{name}": hook for name, hook in self._techniques.items()},
        }
        used = {name: part for name, part in parts.items() if part is not None}
        self._saver = Saver(checkpoints, self._module, used, self._total)

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        if note := self._saver.resume():
            self._training.notes.append(note)
        self._resumed_at = self._progress.step
        if self._resumed_at:
            self._training.notes.append(f"training goes on from step {self._resumed_at} of {self._total}")

    @property
    def is_over(self) -> bool:
        """True if all epochs are done or early stop ends the training."""
        epoch, stop = self._progress.epoch, self._early_stop
        stopped = stop is not None and stop.is_over(epoch, self._recipe.early_stop_patience)
        return stopped or epoch >= self._recipe.epochs

    def one_epoch(self, progress: Callable[[int, int], None]) -> None:
        """Train the rest of the current epoch, or a whole one."""
        if self._progress.current is None:
            for hook in self._hooks:
                hook.before_epoch(self._progress.epoch)
            self._progress.current = Epoch(self._random.permutation(self._batches.num_units(self._progress.epoch)))
        now = self._progress.current
        batches = self._batches.batches(self._progress.epoch, now.order)
        set_training_mode(self._module, batch_norm=self._recipe.batch_norm, frozen=self._frozen)
        while now.done < len(batches):
            started_s = time.monotonic()
            for name, value in self._one_step(batches[now.done], self._learning_rate(now.done, len(batches))).items():
                now.sums[name] = now.sums.get(name, 0.0) + value
            now.done += 1
            now.seconds += time.monotonic() - started_s
            self._progress.step += 1
            progress(self._progress.step, self._total)
            if now.done < len(batches):
                self._saver.save_if_due()
        self._regularise()
        self._progress.losses.append({name: value / len(batches) for name, value in now.sums.items()})
        self._training.images.append(now.images)
        self._training.epoch_s.append(now.seconds)
        self._progress.current = None
        self._progress.epoch += 1
        self._watch()
        self._saver.save_if_due(epoch_ends=True)

    def _learning_rate(self, done: int, steps: int) -> float:
        """Return the rate after `done` of an epoch's steps; short epochs go as far along the schedule as others."""
        whole = self._steps_per_epoch
        place = self._progress.epoch * whole + done * whole / steps
        share = schedule_share(place, self._recipe.epochs * whole, whole, self._recipe)
        for hook in self._hooks:
            replaced = hook.learning_rate_share(place, whole)
            share = share if replaced is None else replaced
        return self._recipe.learning_rate * (warmup_share(self._progress.step, self._recipe) * share)

    def _one_step(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """Take one step; return the losses before it by part."""
        device, recipe, now = self._detector.device, self._recipe, self._progress.current
        assert now is not None
        self._stepper.set_rate(learning_rate)
        images, targets = augment([self._loader[row] for row in batch.rows], recipe, self._random)
        images, targets = images.to(device), [to_device(target, device) for target in targets]
        for hook in self._hooks:
            chosen = hook.choose_images(images, targets, epoch=self._progress.epoch, place=now.done)
            if chosen is not None:
                images, targets = images[list(chosen)], [targets[place] for place in chosen]
        now.images += len(images)
        with self._training.computing(compute=self._training.compute):
            with ExitStack() as contexts:
                for hook in self._hooks:
                    contexts.enter_context(hook.during_forward())
                losses = dict(self._detector.losses(images, targets))
            for hook in self._hooks:
                losses.update(hook.extra_losses(images))
        parts = torch.stack([part.float() for part in losses.values()])
        values = dict(zip(losses, parts.detach().tolist(), strict=True))
        if not math.isfinite(total := sum(values.values())):
            raise self._diverged("loss", total, batch)
        stepped, norm = self._stepper.step(parts.sum() * batch.weight, batch.weight * recipe.clip_norm)
        if not math.isfinite(norm):
            raise self._diverged("gradient", norm, batch)
        if stepped:
            for hook in self._hooks:
                hook.after_step(learning_rate)
        if self._average is not None:
            self._average.update(self._module)
        return values

    def _diverged(self, what: str, value: float, batch: Batch) -> TrainingDiverged:
        names = ", ".join(self._samples.name(row) for row in batch.rows)
        kept = f" The last checkpoint is kept: {self._checkpoints.where}." if self._checkpoints is not None else ""
        return TrainingDiverged(
            f"training: expected a finite {what}, found {value} at step {self._progress.step} of {self._total} (epoch "
            f"{self._progress.epoch + 1}, images {names}). Lower the learning rate ({self._recipe.learning_rate:g})."
            f"{kept}"
        )

    # -- the result

    @contextmanager
    def _changing_weights(self) -> Iterator[None]:
        """Let techniques keep, inside, what a change of the weights must not undo."""
        for hook in self._hooks:
            hook.before_change()
        yield
        for hook in self._hooks:
            hook.after_change()

    def _regularise(self) -> None:
        with self._changing_weights():
            for hook in self._hooks:
                hook.regularise()

    def _settle(self) -> None:
        """Put the result of the steps so far into the module: the mean of weights, regularised like the last ones."""
        if self._average is not None:
            with self._changing_weights():
                self._average.copy_to(self._module)
            self._regularise()

    def _watch(self) -> None:
        """Evaluate what would be the result now, for early stop."""
        if self._early_stop is None:
            return
        own = {key: value.detach().clone() for key, value in self._module.state_dict().items()}
        self._settle()
        judged = self._detector
        for hook in self._hooks:
            judged = hook.as_result(judged)
        self._early_stop.watch(judged, self._module, self._progress.epoch)
        self._module.load_state_dict(own)

    def keep_best(self) -> None:
        """Put the result into the module: the best epoch's weights, else the mean of weights, else the last."""
        if self._early_stop is not None and self._early_stop.best_weights:
            self._module.load_state_dict(self._early_stop.best_weights)
        else:
            self._settle()

    def release(self) -> None:
        """Leave the module in eval mode and its layers as free to learn as before, also after an error."""
        for hook in reversed(self._hooks):
            hook.release()
        self._module.eval()
        for weight in self._held:
            weight.requires_grad_(True)

    def finish(self) -> None:
        """Let techniques change the result for good, such as remove what it does not need."""
        for hook in reversed(self._hooks):
            hook.finish()

    def record(self) -> TrainingRecord:
        """Return what happened."""
        stop, training = self._early_stop, self._training
        return TrainingRecord(
            losses=tuple(self._progress.losses),
            steps=self._progress.step,
            resumed_at_step=self._resumed_at,
            watched_map=tuple(stop.maps) if stop is not None else (),
            best_epoch=stop.best_epoch if stop is not None else 0,
            notes=tuple(training.notes),
            subsets=self._batches.subsets(),
            images_backpropagated=tuple(training.images),
            epoch_s=tuple(training.epoch_s),
            figures={name: value for hook in self._hooks for name, value in hook.figures().items()},
            card={name: value for hook in self._hooks for name, value in hook.card().items()},
        )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside, since detectors sample proposals from the global one; restore them after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
