"""The cameras' models: published once, promoted by one, rolled back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dataset_culling.artifacts.decision import read_decision
from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.errors import ArtifactError, MissingObject
from dataset_culling.registry import Champion, ChampionMoved, Registry
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.promote_student.config import PromoteStudentConfig
from dataset_culling.stages.promote_student.stage import judge, run

ORIGIN = Origin("test")


def model(path, seed):
    state = {"w": torch.from_numpy(np.random.default_rng(seed).normal(size=8).astype(np.float32))}
    write_model(path, ModelCard("tiny", ("person",), 288, {"seed": seed}), state, ORIGIN)
    return path


@pytest.fixture
def registry(tmp_path):
    return Registry(str(tmp_path / "registry"))


def publish(registry, tmp_path, seed):
    return registry.publish("door", model(tmp_path / f"m{seed}", seed), metrics={"map_50": 0.5}, provenance={"n": seed})


def test_publish__versions_count_up_and_equal_models_are_one(registry, tmp_path):
    assert [publish(registry, tmp_path, seed).number for seed in (1, 2, 1)] == [1, 2, 1]
    assert [version.number for version in registry.versions("door")] == [1, 2]
    assert registry.versions("door")[1].provenance == {"n": 2}
    assert registry.versions("window") == []


def test_publish__a_damaged_model_is_refused(registry, tmp_path):
    path = model(tmp_path / "m", 1)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        registry.publish("door", path, metrics={}, provenance={})
    assert registry.versions("door") == []


def test_fetch_model__is_the_model_that_was_published(registry, tmp_path):
    publish(registry, tmp_path, 3)
    fetched = registry.fetch_model("door", 1, tmp_path / "fetched")
    assert digest(fetched) == digest(tmp_path / "m3")


def test_promote__moves_the_pointer_and_rollback_moves_it_back(registry, tmp_path):
    for seed in (1, 2):
        publish(registry, tmp_path, seed)
    first = registry.promote("door", 1, expected=registry.champion("door"))
    second = registry.promote("door", 2, expected=first)
    assert (second.version, second.history) == (2, (1,))
    assert registry.rollback("door").version == 1
    assert registry.champion("door") == Champion(1, ())
    with pytest.raises(MissingObject, match="nothing to go back to"):
        registry.rollback("door")


def test_promote__a_version_that_is_not_there_is_refused(registry):
    with pytest.raises(MissingObject):
        registry.promote("door", 7, expected=registry.champion("door"))


def test_promote__of_many_at_once_one_wins_and_the_others_are_told(registry, tmp_path):
    for seed in range(6):
        publish(registry, tmp_path, seed)
    before = registry.champion("door")
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def race(number: int) -> None:
        start.wait()
        try:
            registry.promote("door", number, expected=before)
            outcomes.append("won")
        except ChampionMoved:
            outcomes.append("told")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["told"] * 5 + ["won"]


@pytest.mark.parametrize(
    ("metrics", "min_gain", "better", "saying"),
    [
        pytest.param({"map_50_trained": 0.7, "map_50_raw": 0.5}, 0.0, True, "of the raw student", id="first model"),
        pytest.param({"map_50_trained": 0.5, "map_50_raw": 0.5}, 0.0, False, "gain of 0.000", id="no gain"),
        pytest.param({"map_50_trained": 0.52, "map_50_raw": 0.5}, 0.05, False, "at least 0.050", id="too small"),
        pytest.param(
            {"map_50_trained": 0.7, "map_50_raw": 0.5, "map_50_champion": 0.8},
            0.0,
            False,
            "a loss of 0.100",
            id="worse",
        ),
    ],
)
def test_judge__worked_by_hand(metrics, min_gain, better, saying):
    decided, reason = judge(metrics, min_gain=min_gain)
    assert decided is better
    assert saying in reason


def test_stage__promotes_once_and_is_idempotent(tmp_path):
    path = model(tmp_path / "m", 1)
    write_metrics(tmp_path / "metrics", {"map_50_raw": 0.5, "map_50_trained": 0.7}, ORIGIN)
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"))
    inputs = {"model": path, "metrics": tmp_path / "metrics"}
    for name, before in (("first", 0), ("again", 1)):
        run(config, inputs, {"decision": tmp_path / name}, StageContext("promote-student"))
        decision = read_decision(tmp_path / name)
        assert (decision.promoted, decision.version, decision.champion_before) == (True, 1, before)
    assert len(Registry(config.registry).versions("door")) == 1


@pytest.mark.parametrize(("mode", "published"), [("dry-run", 0), ("manual", 1)])
def test_stage__moves_nothing_unless_told_to(tmp_path, mode, published):
    path = model(tmp_path / "m", 1)
    write_metrics(tmp_path / "metrics", {"map_50_raw": 0.5, "map_50_trained": 0.7}, ORIGIN)
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"), mode=mode)
    inputs = {"model": path, "metrics": tmp_path / "metrics"}
    run(config, inputs, {"decision": tmp_path / "decision"}, StageContext("promote-student"))
    assert not read_decision(tmp_path / "decision").promoted
    assert Registry(config.registry).champion("door").version == 0
    assert len(Registry(config.registry).versions("door")) == published
