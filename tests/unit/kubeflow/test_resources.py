"""Profiles: names, files laid over them, and sizes that a cluster would refuse or starve on."""

from __future__ import annotations

import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.kubeflow.resources import PROFILES, ResourceClass, load_profile


def mebibytes(text: str) -> int:
    return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


def test_load_profile__names():
    assert load_profile("kind") is PROFILES["kind"]
    with pytest.raises(ConfigError, match=r"no profile is called 'gpus'\. Did you mean 'gpu'\? Known: gpu, cpu, kind"):
        load_profile("gpus")


def test_load_profile__file_lies_over_a_named_one(tmp_path):
    file = tmp_path / "night.yaml"
    file.write_text("base: gpu\ngpu_type: nvidia.com/mig-3g.40gb\ntrain: {memory: 24Gi}\n")
    night = load_profile(str(file))
    assert (night.gpu_type, night.train.memory) == ("nvidia.com/mig-3g.40gb", "24Gi")
    assert night.train.gpus == PROFILES["gpu"].train.gpus == 1
    assert night.network == PROFILES["gpu"].network


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: gpu\ntrain: {memory: 24GB}\n", "'train.memory': wanted"),
        ("base: gpu\ntrain: {memroy: 24Gi}\n", "Did you mean 'memory'"),
        ("base: gpuu\n", "no profile is called 'gpuu'"),
    ],
)
def test_load_profile__wrong_file_is_one_line(text, said, tmp_path):
    file = tmp_path / "night.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"^[^\n]*{said}[^\n]*$"):
        load_profile(str(file))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles__shared_memory_fits_into_memory(name):
    profile = PROFILES[name]
    for given in (profile.decode, profile.network, profile.train, profile.small):
        assert isinstance(given, ResourceClass)
        assert mebibytes(given.shared_memory) <= mebibytes(given.memory) // 2
        assert bool(given.gpus) <= bool(profile.gpu_node_selector)


def test_profiles__kind_fits_on_one_small_node():
    classes = PROFILES["kind"]
    # Two tasks side by side at most (label-heldout runs beside the chain), next to KFP's own 3.05 GiB of requests.
    two_largest = sorted(mebibytes(r.memory) for r in (classes.decode, classes.network, classes.train, classes.small))[
        -2:
    ]
    assert sum(two_largest) + 3.05 * 1024 < 8 * 1024
