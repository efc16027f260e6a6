"""The nuclear norm's proximal step, and kernels that are held as two."""

from __future__ import annotations

import copy

import pytest
import torch

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.compact import LowRank
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ConfigError
from dataset_culling.training.data import predictions_of
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.low_rank.ranks import compressible, factorise, rank_of, shrink_ranks
from dataset_culling.training.techniques.pruning.neurons import remove, silence
from dataset_culling.training.techniques.pruning.wiring import wiring_of
from squares import Squares, student

FC7 = "roi_heads.box_head.fc7"


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.64, 1), (0.65, 2), (0.999, 2), (1.0, 2)])
def test_rank_of__worked_by_hand(energy, rank):
    # Squares 64 and 36 of 100; the third is nothing.
    assert rank_of(torch.tensor([8.0, 6, 1e-7]), energy) == rank


def test_shrink_ranks__worked_by_hand():
    detector = student()
    layer = detector.module.get_submodule(FC7)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0], layer.weight[1, 1], layer.weight[2, 2] = 3.0, -2.0, 0.5
    shrink_ranks(detector, 1.0)
    wanted = torch.zeros_like(layer.weight)
    wanted[0, 0], wanted[1, 1] = 2.0, -1.0
    torch.testing.assert_close(layer.weight.detach(), wanted)


def test_compressible__not_what_the_cameras_classes_make_anew():
    names = [name for name, _ in compressible(student())]
    assert FC7 in names
    assert "backbone.stem.0.0" in names
    assert not [name for name in names if "box_predictor" in name]
    with pytest.raises(ConfigError, match="only R-CNNs and YOLOX"):
        next(compressible(load_trainable(DetectorRef(name="ssdlite320_mobilenet_v3_large", weights="none"))))


def test_factorise__of_a_low_rank_kernel_says_the_same():
    detector = student()
    conv = detector.module.get_submodule("backbone.pyramid.layer_blocks.0.0")
    with torch.no_grad():
        conv.weight.copy_((torch.randn(16, 2) @ torch.randn(2, 144)).reshape(16, 16, 3, 3))
    plain = copy.deepcopy(detector)
    ranks = factorise(detector, 1.0)
    assert {name: cut.rank for name, cut in ranks.items()} == {
        "backbone.pyramid.layer_blocks.0.0": 2  # kernels of full rank would grow
    }
    assert ranks["backbone.pyramid.layer_blocks.0.0"].lost < 1e-9
    assert detector.layers()["backbone.pyramid.layer_blocks.0.0"] == (16, 2, 16)
    image = torch.randint(0, 256, (1, 3, 96, 128), dtype=torch.uint8)
    for mine, theirs in zip(detector.feature_maps(image), plain.feature_maps(image), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))


def test_factorise__says_the_energy_that_is_lost():
    detector = student()
    layer = detector.module.get_submodule(FC7)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0], layer.weight[1, 1] = 8.0, 6.0  # squares 64 and 36 of 100
    cut = factorise(detector, 0.6, names=[FC7])
    assert list(cut) == [FC7]
    assert cut[FC7].rank == 1
    assert cut[FC7].lost == pytest.approx(0.36)


@pytest.mark.parametrize(("epochs", "ema_decay"), [(2, 0.0), (1, 0.99)])
def test_train__kernels_are_of_a_lower_rank_than_without(epochs, ema_decay):
    recipe = Recipe(epochs=epochs, batch_size=2, warmup_steps=0, ema_decay=ema_decay)
    plain, shrunk = student(), student()
    train(plain, Squares(), recipe)
    record = train(shrunk, Squares(), recipe.replace(low_rank=100.0, low_rank_energy=0.8))
    factorise(plain, 0.8)
    assert any("kernel's energy was lost" in note for note in record.notes)
    fewer, more = (one.layers() for one in (shrunk, plain))
    both = [name for name in more if len(more[name]) == len(fewer[name]) == 3]
    assert len(both) > 5
    assert sum(fewer[name][1] for name in both) < 0.9 * sum(more[name][1] for name in both)


def test_train__frozen_layers_are_not_factorised():
    detector = student()
    before = detector.state()
    recipe = Recipe(epochs=1, batch_size=2, frozen_layers=2, low_rank=20.0, low_rank_energy=0.5)
    train(detector, Squares(2), recipe)
    after = detector.state()
    frozen = [key for key in before if key.startswith(("backbone.stem.0", "backbone.stem.1"))]
    assert len(frozen) > 2
    assert all(torch.equal(before[key], after[key]) for key in frozen)
    assert len(detector.layers()["backbone.stem.2.0"]) == 3


def test_train__early_stop_judges_the_factorised_student(monkeypatch):
    judged = []

    def predict(detector, *given, **named):
        judged.append(detector.layers())
        return predictions_of(detector, *given, **named)

    monkeypatch.setattr("dataset_culling.training.early_stop.predictions_of", predict)
    detector = student()
    recipe = Recipe(epochs=1, batch_size=2, low_rank=20.0, low_rank_energy=0.5)
    train(detector, Squares(2), recipe, watched=Squares(2))
    assert any(len(sizes) == 3 for sizes in detector.layers().values())
    assert judged == [detector.layers()]


def test_train__factorised_then_trained_and_pruned_once_more():
    detector = student()
    whole = detector.num_parameters()
    recipe = Recipe(epochs=2, batch_size=2, low_rank=20.0, low_rank_energy=0.8)
    train(detector, Squares(), recipe)
    pairs = [name for name, part in detector.module.named_modules() if isinstance(part, LowRank)]
    assert pairs
    assert detector.num_parameters() < 0.9 * whole
    wiring = wiring_of(detector)
    inner = wiring.outputs[f"{pairs[-1]}.0"]
    assert wiring.removable[inner].all()
    gone = torch.zeros(len(wiring), dtype=torch.bool)
    gone[inner[1:]] = True
    silence(detector.module, wiring, gone)
    masked = copy.deepcopy(detector)
    remove(detector, wiring, gone)
    assert detector.layers()[pairs[-1]][1] == 1
    image = torch.randint(0, 256, (1, 3, 96, 128), dtype=torch.uint8)
    for mine, theirs in zip(detector.feature_maps(image), masked.feature_maps(image), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.detach().abs().max()))
    train(detector, Squares(), Recipe(epochs=1, low_rank=0.1, prune=0.1))
