"""Checkpoints: a training that stops at any step goes on to the same weights, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from dataset_culling.training.checkpoint import Snapshot, UnusableCheckpoint, pack, unpack
from dataset_culling.training.loop import TrainingDiverged, train
from dataset_culling.training.recipe import Recipe
from squares import Squares, student, weights


@dataclass
class Kept:
    """The last checkpoint, in memory."""

    data: bytes | None = None
    every_s: float = 0.0
    where: str = "memory"
    written: list[int] = field(default_factory=list)  # the step of each

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data
        self.written.append(unpack(data, where="memory").facts["progress"]["step"])


class Stopped(Exception):
    """Stands for the death of the process between two steps."""


def stop_after(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stopped

    return progress


FIVE = Recipe(epochs=3, batch_size=2, seed=5, scale_jitter=0.5)
"""Five images, three steps an epoch, nine in all, each augmented by lot."""

SELECTIVE = FIVE.replace(
    selective_backprop=True, selective_start=0.3, selective_end=1.0, selective_interrupt=0, ema_decay=0.9
)
"""From the second epoch on one of two images is trained on."""


SMALLER = FIVE.replace(warmup_steps=0, learning_rate=2e-3, prune=30.0, low_rank=20.0, low_rank_energy=0.8)
"""Neurons die, and kernels lose ranks."""


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        pytest.param(FIVE, 2, id="inside the first epoch"),
        pytest.param(FIVE, 5, id="inside an epoch"),
        pytest.param(FIVE, 7, id="after an epoch's end"),
        pytest.param(FIVE.replace(optimizer="adam", ema_decay=0.0, schedule="cyclical"), 5, id="adam without a mean"),
        pytest.param(FIVE.replace(optimizer="sgd", batch_norm="train"), 5, id="sgd, batch norm learns"),
        pytest.param(FIVE.replace(frozen_layers=3), 5, id="frozen layers"),
        pytest.param(FIVE.replace(expand=2, frozen_layers=3), 5, id="expanded"),
        pytest.param(SMALLER, 5, id="pruned, of a low rank"),
        pytest.param(FIVE.replace(subset="gradmatch", subset_share=0.5, subset_every=2), 4, id="grad-match"),
        pytest.param(FIVE.replace(subset="random", subset_share=0.5, subset_warm=0.3), 6, id="random subsets"),
        pytest.param(SELECTIVE, 6, id="selective, inside an epoch"),
        pytest.param(SELECTIVE.replace(selective_interrupt=2, batch_norm="train"), 8, id="selective, interrupted"),
    ],
)
def test_train__resumed_equals_uninterrupted(recipe, step):
    whole, half = student(), Kept()
    record = train(whole, Squares(5), recipe)
    with pytest.raises(Stopped):
        train(student(), Squares(5), recipe, checkpoints=half, progress=stop_after(step))
    assert half.written == list(range(1, step))
    again = student()
    torch.manual_seed(99)  # the new process's generators stand anywhere
    resumed = train(again, Squares(5), recipe, checkpoints=half)
    assert resumed.resumed_at_step == step - 1
    assert resumed.losses == record.losses
    assert resumed.subsets == record.subsets
    assert resumed.images_backpropagated == record.images_backpropagated
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("start", [FIVE, SELECTIVE], ids=["whole batches", "selective"])
def test_train__resumed_with_distillation_equals_uninterrupted(start):
    recipe = start.replace(distillation=1.0)
    whole, half, again = student(), Kept(), student()
    record = train(whole, Squares(5), recipe, teacher=student())
    with pytest.raises(Stopped):
        train(student(), Squares(5), recipe, teacher=student(), checkpoints=half, progress=stop_after(5))
    assert train(again, Squares(5), recipe, teacher=student(), checkpoints=half).losses == record.losses
    assert torch.equal(weights(again), weights(whole))


def test_train__resumed_after_the_last_step_becomes_as_small():
    whole, again, kept = student(), student(), Kept()
    before = whole.num_parameters()
    train(whole, Squares(5), SMALLER, checkpoints=kept)
    assert kept.written[-1] == 9
    assert train(again, Squares(5), SMALLER, checkpoints=kept).resumed_at_step == 9
    assert again.layers() == whole.layers()
    assert again.num_parameters() < 0.9 * before
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("start", [FIVE, FIVE.replace(expand=2), SMALLER], ids=["plain", "expanded", "smaller"])
def test_train__resumed_with_early_stop_equals_uninterrupted(start):
    recipe = start.replace(epochs=4, early_stop_share=0.4, early_stop_patience=2)
    whole, half = student(), Kept()
    record = train(whole, Squares(3), recipe, watched=Squares(2))
    with pytest.raises(Stopped):
        train(student(), Squares(3), recipe, watched=Squares(2), checkpoints=half, progress=stop_after(4))
    again = student()
    resumed = train(again, Squares(3), recipe, watched=Squares(2), checkpoints=half)
    assert resumed.resumed_at_step == 3
    assert (resumed.watched_map, resumed.best_epoch) == (record.watched_map, record.best_epoch)
    assert torch.equal(weights(again), weights(whole))


def test_train__epochs_end_with_a_checkpoint():
    kept = Kept(every_s=3600.0)
    train(student(), Squares(5), FIVE, checkpoints=kept)
    assert kept.written[0] == 3
    assert set(kept.written) <= {3, 6, 9}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut off"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"\x80\x04." + data, id="a pickle"),
        pytest.param(lambda data: pack(Snapshot({"model.x": torch.zeros(1)}, {"total": 9})), id="another network"),
    ],
)
def test_train__an_unusable_checkpoint_means_starting_over(spoil):
    kept = Kept()
    with pytest.raises(Stopped):
        train(student(), Squares(5), FIVE, checkpoints=kept, progress=stop_after(5))
    kept.data = spoil(kept.data)
    whole, again = student(), student()
    train(whole, Squares(5), FIVE)
    record = train(again, Squares(5), FIVE, checkpoints=kept)
    assert record.resumed_at_step == 0
    assert "Training starts over" in record.notes[0]
    assert torch.equal(weights(again), weights(whole))


def test_train__nan_keeps_the_last_good_checkpoint():
    kept, detector = Kept(), student()

    def poison(done: int, total: int) -> None:
        if done == 4:
            with torch.no_grad():
                next(iter(detector.module.parameters())).fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match=r"nan at step 4 of 9 \(epoch 2, images frame \d.*kept: memory\."):
        train(detector, Squares(5), FIVE, checkpoints=kept, progress=poison)
    good = unpack(kept.data, where="memory")
    assert good.facts["progress"]["step"] == 3
    assert all(bool(value.isfinite().all()) for value in good.tensors.values())


def test_train__a_gradient_that_is_not_finite_spoils_no_weight():
    detector, kept = student(), Kept()
    weight = detector.module.roi_heads.box_predictor.cls_score.weight
    calls = []

    def overflow(gradient):
        calls.append(1)
        return gradient * float("inf") if len(calls) == 3 else gradient

    weight.register_hook(overflow)
    with pytest.raises(TrainingDiverged, match=r"finite gradient, found (nan|inf) at step 2 of 9"):
        train(detector, Squares(5), FIVE.replace(clip_norm=0.0), checkpoints=kept)
    assert bool(weights(detector).isfinite().all())
    assert kept.written == [1, 2]


def test_pack__tensors_and_facts_come_back():
    snapshot = Snapshot({"b": torch.arange(3), "a": torch.tensor(0.1)}, {"big": 2**127 + 1, "loss": 0.1, "none": []})
    data = pack(snapshot)
    back = unpack(data, where="here")
    assert back.facts == snapshot.facts
    assert {name: value.tolist() for name, value in back.tensors.items()} == {"b": [0, 1, 2], "a": pytest.approx(0.1)}
    assert data == pack(Snapshot(dict(reversed(snapshot.tensors.items())), snapshot.facts))


def test_unpack__another_version_is_refused(monkeypatch):
    monkeypatch.setattr("dataset_culling.training.checkpoint.VERSION", 1)  # had no times of epochs
    data = pack(Snapshot({}, {}))
    monkeypatch.undo()
    with pytest.raises(UnusableCheckpoint, match="here: expected a checkpoint of version 3"):
        unpack(data, where="here")
