"""Crops and how their feature maps are pooled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ConfigError
from experiments.embeddings.layers import MAX_DIMENSIONS, crop_of, embed_crops, reduced


def test_crop_of__fills_the_square_whatever_the_shape():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 20:40] = 200
    crop = crop_of(image, np.array([20, 10, 40, 20], np.float32), 64)  # twice as wide as high
    assert crop.shape == (64, 64, 3)
    assert (crop == 200).all()


def test_crop_of__a_box_beyond_the_image_is_clipped():
    image = np.full((10, 10, 3), 7, np.uint8)
    assert (crop_of(image, np.array([-5, -5, 25, 25], np.float32), 32) == 7).all()
    assert (crop_of(image, np.array([30, 3, 40, 3.5], np.float32), 32)).shape == (32, 32, 3)


def test_reduced__pools_once_or_until_it_is_short_enough():
    once = reduced(torch.ones(1, 256, 6, 6), 3)  # the seed's AlexNet: 9216 numbers become 1024
    assert once is not None
    assert once.shape == (1, 256, 2, 2)
    twice = reduced(torch.arange(2.0 * 45 * 45 * 4).reshape(1, 8, 45, 45), 3)
    assert twice is not None
    assert twice.shape == (1, 8, 15, 15)  # 1800 numbers
    again = reduced(torch.ones(1, 32, 45, 45), 3)  # 32 * 225 are too many
    assert again is not None
    assert again.shape == (1, 32, 5, 5)
    assert reduced(torch.ones(1, 8, 4, 4), 5) is None  # smaller than the kernel
    assert reduced(torch.ones(1, 8, 4, 4), 4) is None  # one px would be left


def test_embed_crops__every_map_and_last_all_of_them():
    detector = load_trainable(DetectorRef(name="tiny"))
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (128, 128, 3), np.uint8) for _ in range(3)]
    found = embed_crops(detector, crops, batch_size=2)
    names = [(layer.layer, layer.stride_px, layer.pooling) for layer, _ in found]
    assert names[0] == ("0", 8, "global")
    assert names[-1] == ("all", 0, "global")
    assert ("2", 32, "avg 3") not in names  # 4 x 4 px would become one
    assert all(values.shape[0] == 3 and values.shape[1] < MAX_DIMENSIONS for _, values in found)
    means = [values for layer, values in found if layer.pooling == "global"]
    assert np.array_equal(np.concatenate(means[:-1], axis=1), means[-1])
    alone = embed_crops(detector, crops[:1])
    assert np.allclose(alone[0][1][0], found[0][1][0], atol=1e-4)


def test_detect__features_of_some_maps_are_those_maps_means():
    detector = load_trainable(DetectorRef(name="tiny"))
    batch = [detector.prepare(np.full((128, 160, 3), 90, np.uint8), side_px=128)]
    whole = detector.detect(batch, min_score=0.5, features=True)[0].features
    last = detector.detect(batch, min_score=0.5, features=(2,))[0].features
    turned = detector.detect(batch, min_score=0.5, features=(2, 0))[0].features
    assert whole is not None
    assert last is not None
    assert turned is not None
    width = len(whole) // 3
    assert np.array_equal(last, whole[2 * width :])
    assert np.array_equal(turned, np.concatenate([whole[2 * width :], whole[:width]]))
    with pytest.raises(ConfigError, match=r"feature_maps: tiny has maps 0 to 2, not 3"):
        detector.detect(batch, min_score=0.5, features=(3,))
