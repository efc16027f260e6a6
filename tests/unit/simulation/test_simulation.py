"""The simulated camera: pure, deterministic, and true to its boxes."""

from __future__ import annotations

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from pycocotools.coco import COCO

from dataset_culling.errors import ConfigError
from dataset_culling.simulation import (
    CLASS_NAMES,
    SCENES,
    SceneConfig,
    SimulatedCamera,
    demo_scene,
    random_scene,
    write_video,
)
from dataset_culling.simulation.camera import daylight_at
from dataset_culling.simulation.scenery import Ground
from dataset_culling.simulation.sprites import PHASES, Look, sprite
from dataset_culling.simulation.traffic import actors, busy_at

SMALL = SceneConfig(seed=5, width_px=256, height_px=144, day_length_s=600, start_hour=8)


@pytest.mark.parametrize("name", SCENES)
def test_frame__is_a_pure_function_of_scene_and_time(name):
    scene = demo_scene(name)
    times = [700.0, 88_000.25]
    one, other = SimulatedCamera(scene), SimulatedCamera(scene)
    first = [one.frame(time_s) for time_s in times]
    second = [other.frame(time_s) for time_s in reversed(times)][::-1]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
        np.testing.assert_array_equal(a.track_ids, b.track_ids)


def test_frame__is_the_same_in_another_process():
    code = (
        "import hashlib; from dataset_culling.simulation import SimulatedCamera, random_scene;"
        "print(hashlib.sha256(SimulatedCamera(random_scene(42)).frame(1234.5).image.tobytes()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_frame__another_seed_is_another_scene():
    frames = [SimulatedCamera(SMALL.replace(seed=seed)).frame(60.0).image for seed in (1, 2)]
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 5


@pytest.mark.parametrize("seed", range(8))
def test_frame__shapes_and_bounds(seed):
    scene = random_scene(seed, width_px=256, height_px=144)
    frame = SimulatedCamera(scene).frame(seed * 7919.0)
    num = len(frame.class_ids)
    assert frame.image.shape == (144, 256, 3)
    assert frame.image.dtype == np.uint8
    assert frame.boxes_xyxy.shape == (num, 4)
    assert frame.boxes_xyxy.dtype == np.float32
    assert (frame.track_ids.shape, frame.ignore.shape) == ((num,), (num,))
    assert (frame.boxes_xyxy >= 0).all()
    assert (frame.boxes_xyxy[:, [0, 2]] <= 256).all()
    assert (frame.boxes_xyxy[:, [1, 3]] <= 144).all()
    assert (frame.boxes_xyxy[:, 2:] > frame.boxes_xyxy[:, :2]).all()
    assert ((frame.visible_fraction > 0) & (frame.visible_fraction <= 1)).all()
    assert len(set(frame.track_ids.tolist())) == num


def test_frame__an_empty_scene_keeps_its_shapes():
    empty = SMALL.replace(
        people_per_minute=0, bicycles_per_minute=0, cars_per_minute=0, trucks_per_minute=0, dogs_per_minute=0,
        parked=0, standing=0,
    )  # fmt: skip
    frame = SimulatedCamera(empty).frame(10.0)
    assert frame.boxes_xyxy.shape == (0, 4)
    assert frame.visible_fraction.shape == (0,)


def test_frame__boxes_are_tight_around_what_changed():
    """The same moment with and without objects differs inside the boxes (and their shadows), and right up to them."""
    scene = SMALL.replace(
        noise_levels=0, rain=0, parked=0, standing=0, cars_per_minute=0, trucks_per_minute=0, bicycles_per_minute=0,
        dogs_per_minute=0, people_per_minute=12, camouflage=0, width_px=512, height_px=288, distractors=0,
    )  # fmt: skip
    camera, bare = SimulatedCamera(scene), SimulatedCamera(scene.replace(people_per_minute=0))
    checked = 0
    for time_s in np.arange(60, 200, 7.0):
        frame = camera.frame(time_s)
        changed = np.abs(frame.image.astype(int) - bare.frame(time_s).image).max(2) > 10
        alone = [k for k in range(len(frame.ignore)) if frame.visible_fraction[k] > 0.97]
        for k in alone:
            x1, y1, x2, y2 = frame.boxes_xyxy[k].astype(int)
            others = np.delete(frame.boxes_xyxy, k, 0)
            if any(o[0] < x2 + 30 and o[2] > x1 - 30 for o in others):  # nor in another shadow
                continue
            body = y1 + round(0.8 * (y2 - y1))  # below it lies the shadow
            rows, columns = np.nonzero(changed[:body, max(0, x1 - 8) : x2 + 8])
            if len(rows) == 0:
                continue
            columns = columns + max(0, x1 - 8)
            assert abs(rows.min() - y1) <= 3
            assert columns.min() >= x1 - 2
            assert columns.max() <= x2 + 2
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("kind", CLASS_NAMES)
@pytest.mark.parametrize("view", ["side", "front", "back"])
def test_sprite__fills_its_own_bounds(kind, view):
    for phase in range(PHASES):
        drawn = sprite(Look(kind, view, -1, 7, 1.0, (200, 30, 30), (40, 40, 120), (205, 155, 120)), phase)
        solid = drawn.rgba[..., 3] > 100
        assert solid[0].any()
        assert solid[-1].any()
        assert solid[:, 0].any()
        assert solid[:, -1].any()


def test_ground__near_is_large_and_low():
    ground = Ground.of(SMALL)
    assert ground.at(0, SMALL.near_m)[1] == pytest.approx(SMALL.height_px)
    assert ground.scale(10) > ground.scale(20)
    assert ground.at(0, 10)[1] > ground.at(0, 20)[1]


def test_traffic__night_has_empty_hours_and_day_has_none():
    scene = demo_scene("demo").replace(parked=0)
    by_hour = {hour: [] for hour in range(24)}
    for time_s in np.arange(0, scene.day_length_s, 5.0):
        hour = int((scene.start_hour + time_s * 24 / scene.day_length_s) % 24)
        by_hour[hour].append(len(actors(scene, float(time_s))))
    assert np.mean(by_hour[8]) > 3
    assert np.mean([count == 0 for count in by_hour[2]]) > 0.5
    assert busy_at(scene, (8 - 5) / 24 * 1400) > 5 * busy_at(scene, (26 - 5) / 24 * 1400)


def test_daylight__night_dusk_day():
    assert daylight_at(1.0) == 0
    assert daylight_at(12.0) == 1
    assert 0 < daylight_at(18.2) < 1


def test_write_video__film_and_truth_belong_together(tmp_path):
    video, truth = tmp_path / "a.mp4", tmp_path / "a.json"
    seen = []
    camera = SimulatedCamera(SMALL)
    write_video(camera, video, fps=2, duration_s=9, truth_path=truth, on_progress=lambda *at: seen.append(at))
    assert seen[-1] == (18, 18)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 2
    coco = COCO(str(truth))
    assert len(coco.getImgIds()) == len(frames) == 18
    assert [coco.imgs[k]["time_s"] for k in (0, 1, 17)] == [0, 0.5, 8.5]
    wanted = SimulatedCamera(SMALL).frame(8.5)
    assert len(coco.getAnnIds(imgIds=[17], iscrowd=None)) == len(wanted.class_ids)
    assert np.abs(frames[17].astype(int) - wanted.image).mean() < 8
    assert {category["name"] for category in coco.cats.values()} == set(CLASS_NAMES)
    assert json.loads(truth.read_text())["info"]["scene"]["seed"] == SMALL.seed


def test_write_video__equal_seeds_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        video, truth = tmp_path / f"{name}.mp4", tmp_path / f"{name}.json"
        write_video(SimulatedCamera(SMALL), video, fps=2, duration_s=4, truth_path=truth)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_write_video__a_failure_leaves_nothing_behind(tmp_path):
    class Broken(SimulatedCamera):
        def frame(self, time_s):
            if time_s > 1:
                raise RuntimeError("the lens cracked")
            return super().frame(time_s)

    with pytest.raises(RuntimeError, match="the lens cracked"):
        write_video(Broken(SMALL), tmp_path / "a.mp4", fps=2, duration_s=4, truth_path=tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_demo_scene__an_unknown_name_is_suggested():
    with pytest.raises(ConfigError, match="Did you mean 'lobby'"):
        demo_scene("loby")
