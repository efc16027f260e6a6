"""Every mistake a user can make gives one clear line and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import culling
from dataset_culling.simulation import SceneConfig, SimulatedCamera, demo_scene, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Forty seconds of a simulated street at one frame a second."""
    path = tmp_path_factory.mktemp("video") / "street.mp4"
    write_video(SimulatedCamera(demo_scene("demo")), path, fps=1, duration_s=40, truth_path=path.with_suffix(".json"))
    return path


def run(video: Path | str, out: Path, *more: str) -> tuple[int, str]:
    """The tiny preset on a video; returns exit code and what stood on stderr, without the stages' progress lines."""
    done = culling("run", "--preset", "tiny", "--video", video, "--out", out, "--quiet", *more)
    return done.returncode, done.stderr


def assert_one_line(code: int, error: str, *, wanted_code: int, saying: str) -> None:
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert saying in lines[0]
    assert code == wanted_code


@pytest.mark.parametrize(
    ("more", "wanted_code", "saying"),
    [
        pytest.param(["--classes", "persn"], 2, "Did you mean 'person'?", id="unknown class"),
        pytest.param(["--student", "tinny"], 2, "Did you mean 'tiny'?", id="unknown detector"),
        pytest.param(
            ["--teacher", "none.yaml"], 3, "none.yaml: the teacher's file does not exist", id="no teacher file"
        ),
        pytest.param(["--student-weights", "gone.pth"], 3, "gone.pth", id="no weights file"),
        pytest.param(["--set", "cull_precision.bugdet", "3"], 2, "Did you mean 'budget'?", id="typo in a setting"),
        pytest.param(["--set", "cull_precision.budget", "0"], 2, "greater than or equal to 1", id="bound"),
        pytest.param(["--preset", "papr"], 2, "Did you mean 'paper'?", id="unknown preset"),
        pytest.param(
            ["--fps", "0.001"],
            3,
            "0.2 of 1 sampled frames is less than one frame",
            id="zero or too few frames at the asked rate",
        ),
        pytest.param(
            ["--set", "extract_frames.heldout_share", "0.01"],
            3,
            "held-out part: a share of 0.01",
            id="held-out part empty",
        ),
        pytest.param(["--device", "cuda"], 2, "--device cuda: this machine has no CUDA device", id="no GPU"),
        pytest.param(["--tarrget", "5"], 2, "--tarrget", id="unknown option"),
    ],
)
def test_run__bad_setting(video, tmp_path, more, wanted_code, saying):
    if "cuda" in more and _has_gpu():
        pytest.skip("this machine has a CUDA device")
    assert_one_line(*run(video, tmp_path / "run", *more), wanted_code=wanted_code, saying=saying)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def test_run__missing_video(tmp_path):
    assert_one_line(*run(tmp_path / "gone.mp4", tmp_path / "run"), wanted_code=3, saying="gone.mp4")


def test_run__a_text_file_named_mp4(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 50)
    assert_one_line(*run(path, tmp_path / "run"), wanted_code=3, saying="notes.mp4")


def test_run__an_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert_one_line(*run(path, tmp_path / "run"), wanted_code=3, saying="empty.mp4")


def test_run__a_config_file_with_a_typo_names_the_file(video, tmp_path):
    config = tmp_path / "night.yaml"
    config.write_text("cull_confidence:\n  buget: 20\n")
    code, error = run(video, tmp_path / "run", "--config", str(config))
    assert_one_line(code, error, wanted_code=2, saying="night.yaml: 'cull_confidence.buget' is an unknown key")


def test_run__an_unwritable_output(video):
    code, error = run(video, Path("/proc/culling-run"))
    assert_one_line(code, error, wanted_code=5, saying="/proc/culling-run")


def test_run__a_file_where_the_folder_should_be(video, tmp_path):
    (tmp_path / "run").write_text("")
    assert_one_line(*run(video, tmp_path / "run"), wanted_code=5, saying="choose another --out")


def test_run__a_scene_where_nothing_is_ever_detected(tmp_path):
    path = tmp_path / "dark.mp4"
    empty: SceneConfig = demo_scene("demo")
    camera = SimulatedCamera(empty)

    class Nothing:
        """The simulated camera with its lens covered."""

        scene = empty

        def frame(self, time_s):
            frame = camera.frame(time_s)
            frame.image[:] = np.random.default_rng(int(time_s * 1000)).integers(20, 24, frame.image.shape, np.uint8)
            return frame

    write_video(Nothing(), path, fps=1, duration_s=40, truth_path=path.with_suffix(".json"))
    code, error = run(path, tmp_path / "run", "--set", "extract_frames.near_duplicates", "keep")
    assert code == 3, error
    assert len(error.strip().splitlines()) == 1
    assert "no box that counts" in error or "found none" in error or "hold no object" in error


def test_run__a_truncated_video_is_read_as_far_as_it_goes(video, tmp_path):
    path = tmp_path / "cut.mkv"
    import av

    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.9)])
    done = culling(
        "run", "--preset", "tiny", "--video", path, "--out", tmp_path / "run", "--json",
        "--set", "extract_frames.max_lost_share", "0.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 10 < json.loads(done.stdout)["frames_extracted"] < 40


def test_show__no_artifact(tmp_path):
    shown = culling("show", tmp_path)
    assert shown.returncode == 3
    assert "expected an artifact with artifact.json, found a directory without one" in shown.stderr


def test_culling__a_mistyped_command_is_suggested():
    done = culling("rnu")
    assert done.returncode == 2
    assert "Did you mean 'run'?" in done.stderr


def test_culling__starts_without_torch_or_kfp():
    import subprocess
    import sys

    modules = "[m for m in ('torch', 'kfp', 'cv2') if m in sys.modules]"
    code = f"import sys; import dataset_culling.cli.program; print({modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
