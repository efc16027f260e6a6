"""Augmentation: boxes go where their pixels go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataset_culling.detectors.torch_base import Target
from dataset_culling.training.augment import FILL, augment, rescale
from dataset_culling.training.data import Prepared
from dataset_culling.training.recipe import Recipe


def picture(box: tuple[int, int, int, int] = (4, 2, 12, 6), size: tuple[int, int] = (10, 20)) -> tuple:
    """A white box on black, and its target."""
    x1, y1, x2, y2 = box
    image = torch.zeros(3, *size, dtype=torch.uint8)
    image[:, y1:y2, x1:x2] = 255
    boxes = torch.tensor([box], dtype=torch.float32)
    return image, Target(boxes, torch.tensor([1]), torch.tensor([0.5]), torch.tensor([False]))


def test_rescale__shrunk_by_half_in_the_middle():
    image, target = rescale(*picture(), 0.5, place=(0.5, 0.5))
    assert image.shape == (3, 10, 20)
    # 5 x 10 px now, with round(0.5 * 5) = 2 px free above and round(0.5 * 10) = 5 px free on the left.
    assert target.boxes_xyxy.tolist() == [[7.0, 3.0, 11.0, 5.0]]
    assert (image[:, :2] == FILL).all()
    assert (image[:, 7:] == FILL).all()
    assert (image[:, :, :5] == FILL).all()
    assert (image[:, :, 15:] == FILL).all()
    assert (image[0, 3:5, 7:11] > 150).all()  # 195 at the corners: shrinking smooths
    assert (image[0, 2, 5:7] < 50).all()


def test_rescale__doubled_and_cropped_at_the_end():
    image, target = rescale(*picture((12, 6, 18, 9)), 2.0, place=(1.0, 1.0))
    # 20 x 40 px now; the last 10 rows and 20 columns are seen.
    assert target.boxes_xyxy.tolist() == [[4.0, 2.0, 16.0, 8.0]]
    assert (image[0, 3:7, 5:15] > 200).all()
    assert not target.ignore.any()


@pytest.mark.parametrize(
    ("box", "left", "ignored"),
    [
        pytest.param((0, 0, 5, 5), None, False, id="outside: gone"),
        pytest.param((5, 3, 11, 9), [[0.0, 0.0, 2.0, 8.0]], True, id="a ninth of it is left: ignored"),
        pytest.param((9, 5, 13, 9), [[0.0, 0.0, 6.0, 8.0]], False, id="three quarters are left: cut"),
    ],
)
def test_rescale__what_a_crop_leaves_of_a_box(box, left, ignored):
    _, target = rescale(*picture(box), 2.0, place=(1.0, 1.0))
    if left is None:
        assert len(target.boxes_xyxy) == len(target.class_ids) == len(target.weights) == len(target.ignore) == 0
        return
    assert target.boxes_xyxy.tolist() == left
    assert target.ignore.tolist() == [ignored]
    assert target.weights.tolist() == [0.5]


def test_rescale__no_box_stays_no_box():
    image, target = picture()
    none = Target(target.boxes_xyxy[:0], target.class_ids[:0], target.weights[:0], target.ignore[:0])
    _, left = rescale(image, none, 1.5, place=(0.0, 0.0))
    assert left.boxes_xyxy.shape == (0, 4)


def test_augment__scaled_boxes_cover_their_pixels():
    image, target = picture((20, 16, 60, 48), (64, 96))
    recipe = Recipe(photometric=0.0, scale_jitter=1.0)
    widths = []
    for seed in range(20):
        batch, (out,) = augment([Prepared(image, target)], recipe, np.random.default_rng(seed))
        assert batch.shape == (1, 3, 64, 96)
        if not len(out.boxes_xyxy):
            continue
        ys, xs = torch.nonzero(batch[0, 0] > 200, as_tuple=True)
        seen = [float(xs.min()), float(ys.min()), float(xs.max()) + 1, float(ys.max()) + 1]
        np.testing.assert_allclose(out.boxes_xyxy[0].tolist(), seen, atol=1.5)
        widths.append(out.boxes_xyxy[0, 2] - out.boxes_xyxy[0, 0])
    assert min(widths) < 30
    assert max(widths) > 50


def test_augment__what_is_off_draws_no_number():
    sample = Prepared(*picture())
    off, plain = np.random.default_rng(1), np.random.default_rng(1)
    augment([sample], Recipe(flip=False, photometric=0.0, scale_jitter=0.0), off)
    assert off.random() == plain.random()
