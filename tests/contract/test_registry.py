"""The cameras' models, in a folder and in a real bucket: published once, promoted by one, rolled back, collected."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_culling.artifacts.decision import read_decision
from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.errors import ArtifactError, ChampionMoved, ConfigError, CorruptObject, MissingObject
from dataset_culling.registry.models import (
    KeepRule,
    Move,
    Provenance,
    Registry,
    ancestors,
    champion_stack,
    open_registry,
)
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.promote_student.config import PromoteStudentConfig
from dataset_culling.stages.promote_student.stage import run
from dataset_culling.storage import LocalStore, ObjectStore
from s3_server import shared_server

ORIGIN = Origin("test")
DAY = 86400.0


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.store)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ObjectStore, str]:
    if request.param == "folder":
        return LocalStore(tmp_path / "registry"), ""
    return shared_server().store(), f"registry/{uuid.uuid4().hex}/"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(store: tuple[ObjectStore, str], clock: Clock) -> Registry:
    return Registry(*store, now_s=clock)


def model(path: Path, seed: int) -> Path:
    if not path.exists():
        state = {"w": torch.from_numpy(np.random.default_rng(seed).normal(size=8).astype(np.float32))}
        write_model(path, ModelCard("tiny", ("person",), 288, {"seed": seed}), state, ORIGIN)
    return path


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[..., int]:
    def one(seed: int, parent: int = 0) -> int:
        made = Provenance(code_version=str(seed), parent=parent)
        return registry.publish("door", model(tmp_path / f"m{seed}", seed), {"map_50_trained": 0.5}, made).version

    return one


def numbers(registry: Registry) -> list[int]:
    return [found.version for found in registry.versions("door")]


# --- publishing ------------------------------------------------------------------------------------------------------


def test_publish__versions_count_up_and_equal_models_are_one(registry, publish):
    assert [publish(seed) for seed in (1, 2, 1)] == [1, 2, 1]
    assert numbers(registry) == [1, 2]
    assert registry.version("door", 2).provenance.code_version == "2"
    assert registry.cameras() == ["door"]
    assert registry.versions("window") == []


def test_publish__a_damaged_model_is_refused(registry, tmp_path):
    path = model(tmp_path / "m", 1)
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        registry.publish("door", path, {}, Provenance())
    assert registry.versions("door") == []


def test_publish__a_camera_named_badly_is_refused(registry, tmp_path):
    with pytest.raises(ConfigError, match="camera 'Door/1'"):
        registry.publish("Door/1", model(tmp_path / "m", 1), {}, Provenance())


def test_publish__many_at_once_get_numbers_of_their_own(registry, tmp_path):
    paths = [model(tmp_path / f"m{seed}", seed) for seed in range(5)]
    got: list[int] = []

    def one(path: Path) -> None:
        got.append(registry.publish("door", path, {}, Provenance()).version)

    threads = [threading.Thread(target=one, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [1, 2, 3, 4, 5]
    assert numbers(registry) == [1, 2, 3, 4, 5]


def test_publish__one_that_died_on_the_way_is_no_version_and_is_taken_up_again(registry, publish, tmp_path):
    publish(1)
    folder = f"{registry.prefix}cameras/door/versions/000001/"
    registry.store.delete(f"{folder}manifest.json")
    assert numbers(registry) == []
    with pytest.raises(MissingObject, match="its versions: none"):
        registry.promote("door", 1, expected=0, reason="x")
    assert publish(1) == 1
    assert numbers(registry) == [1]


def test_fetch_model__is_the_model_that_was_published(registry, publish, tmp_path):
    publish(3)
    fetched = registry.fetch_model("door", 1, tmp_path / "fetched")
    assert digest(fetched) == digest(tmp_path / "m3")


def test_fetch_model__bytes_that_rotted_are_noticed_and_leave_nothing(registry, publish, tmp_path):
    publish(3)
    name = f"{registry.prefix}cameras/door/versions/000001/model/model.safetensors"
    data, _ = registry.store.get_bytes(name)
    registry.store.put_bytes(name, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptObject):
        registry.fetch_model("door", 1, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert not list(tmp_path.glob(".fetched*"))


# --- the pointer -----------------------------------------------------------------------------------------------------


def test_promote__moves_the_pointer_and_rollback_moves_it_back(registry, publish):
    for seed in (1, 2):
        publish(seed)
    registry.promote("door", 1, expected=0, reason="first")
    registry.promote("door", 2, expected=1, reason="better")
    assert registry.champion("door").version == 2
    assert registry.rollback("door", reason="it misses dogs").version == 1
    assert registry.champion("door").version == 1
    with pytest.raises(ConfigError, match="no earlier champion to go back to"):
        registry.rollback("door", reason="again")
    told = [(move.number, move.kind, move.version, move.previous, move.reason) for move in registry.history("door")]
    assert told == [
        (1, "promote", 1, 0, "first"),
        (2, "promote", 2, 1, "better"),
        (3, "rollback", 1, 2, "it misses dogs"),
    ]


def test_promote__a_version_that_is_not_there_is_refused(registry):
    with pytest.raises(MissingObject):
        registry.promote("door", 7, expected=0, reason="x")


def test_promote__of_many_at_once_one_wins_and_the_others_are_told(registry, publish):
    for seed in range(6):
        publish(seed)
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def race(number: int) -> None:
        start.wait()
        try:
            registry.promote("door", number, expected=0, reason="race")
            outcomes.append("won")
        except ChampionMoved:
            outcomes.append("told")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["told"] * 5 + ["won"]
    assert len(registry.history("door")) == 1


# --- collecting ------------------------------------------------------------------------------------------------------


def test_gc__keeps_the_newest_the_champion_its_way_back_and_ancestors(registry, publish, clock):
    parents = {4: 3}
    for seed in range(1, 9):
        publish(seed, parent=parents.get(seed, 0))
    for version, before in ((1, 0), (2, 1), (4, 2)):
        registry.promote("door", version, expected=before, reason="x")
    clock.now_s += 30 * DAY
    rule = KeepRule(newest=2, champions=2, younger_than_s=DAY)
    planned = registry.gc("door", rule, dry_run=True)
    assert numbers(registry) == list(range(1, 9))
    removed = registry.gc("door", rule)
    assert removed.versions == planned.versions == (1, 5, 6)
    assert numbers(registry) == [2, 3, 4, 7, 8]
    assert registry.champion("door").version == 4
    assert publish(99) == 9  # numbers are not taken again


def test_gc__the_young_stay(registry, publish, clock):
    for seed in range(1, 4):
        publish(seed)
    clock.now_s += DAY / 2
    assert registry.gc("door", KeepRule(newest=1, champions=1, younger_than_s=DAY)).versions == ()


def test_gc__takes_away_what_a_dead_publication_left(registry, publish, clock):
    publish(1)
    publish(2)
    registry.store.delete(f"{registry.prefix}cameras/door/versions/000002/manifest.json")
    clock.now_s += 3 * DAY
    assert registry.gc("door", KeepRule()).unfinished == (2,)
    left = [found.key for found in registry.store.find(f"{registry.prefix}cameras/door/versions/000002/")]
    assert [key.rsplit("/", 1)[1] for key in left] == ["removed.json"]


def test_champion_stack__worked_by_hand():
    def move(number, kind, version):
        return Move(number, kind, version, 0, "", "")

    moves = [move(1, "promote", 1), move(2, "promote", 2), move(3, "promote", 3), move(4, "rollback", 2)]
    assert champion_stack(moves) == [1, 2]
    assert champion_stack([*moves, move(5, "promote", 1)]) == [2, 1]
    assert champion_stack([]) == []


def test_ancestors__worked_by_hand():
    assert ancestors([5], {5: 3, 3: 1, 2: 1, 4: 2}) == {3, 1}


# --- the decision ----------------------------------------------------------------------------------------------------


def candidate(tmp_path: Path, seed: int, **figures: float) -> dict[str, Path]:
    metrics = tmp_path / f"metrics{seed}"
    if not metrics.exists():
        sure = {"low_95_gain_map_50": 0.1, "high_95_gain_map_50": 0.3}
        if "map_50_champion" in figures:
            gain = 0.7 - figures["map_50_champion"]
            sure |= {"low_95_gain_over_champion_map_50": gain - 0.05, "high_95_gain_over_champion_map_50": gain + 0.05}
        write_metrics(metrics, {"map_50_raw": 0.5, "map_50_trained": 0.7, **sure, **figures}, ORIGIN)
    return {"model": model(tmp_path / f"m{seed}", seed), "metrics": metrics}


def decide(config: PromoteStudentConfig, inputs: dict[str, Path], out: Path):
    run(config, inputs, {"decision": out}, StageContext("promote-student"))
    return read_decision(out)


def test_stage__promotes_once_and_is_idempotent(tmp_path):
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"))
    inputs = candidate(tmp_path, 1)
    first, again = decide(config, inputs, tmp_path / "first"), decide(config, inputs, tmp_path / "again")
    assert first == again
    assert (first.promoted, first.version, first.champion_before) == (True, 1, 0)
    assert len(open_registry(config.registry).versions("door")) == 1


def test_stage__a_worse_candidate_is_kept_but_not_promoted(tmp_path):
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"))
    decide(config, candidate(tmp_path, 1), tmp_path / "first")
    worse = decide(config, candidate(tmp_path, 2, map_50_champion=0.8), tmp_path / "second")
    assert (worse.promoted, worse.version, worse.champion_after) == (False, 2, 1)
    assert "0.800 for the champion, version 1" in worse.reason


def test_stage__a_champion_nobody_measured_is_not_replaced(tmp_path):
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"))
    decide(config, candidate(tmp_path, 1), tmp_path / "first")
    second = decide(config, candidate(tmp_path, 2), tmp_path / "second")
    assert not second.promoted
    assert "the two cannot be compared" in second.reason


def test_stage__what_somebody_rolled_back_is_not_promoted_again(tmp_path):
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"))
    decide(config, candidate(tmp_path, 1), tmp_path / "first")
    decide(config, candidate(tmp_path, 2, map_50_champion=0.6), tmp_path / "second")
    open_registry(config.registry).rollback("door", reason="it misses dogs")
    again = decide(config, candidate(tmp_path, 2), tmp_path / "again")
    assert not again.promoted
    assert "version 2 has been rolled back" in again.reason


@pytest.mark.parametrize(("mode", "published"), [("dry-run", 0), ("manual", 1)])
def test_stage__moves_nothing_unless_told_to(tmp_path, mode, published):
    config = PromoteStudentConfig(camera="door", registry=str(tmp_path / "registry"), mode=mode)
    assert not decide(config, candidate(tmp_path, 1), tmp_path / "decision").promoted
    registry = open_registry(config.registry)
    assert registry.champion("door").version == 0
    assert len(registry.versions("door")) == published
