"""The control arm in a whole run: asked for afterwards, it costs itself and what judges it, no more."""

from __future__ import annotations

import json
import subprocess

import pytest

from conftest import culling
from dataset_culling.artifacts.control import read_control


def test_run__control_arm_stands_beside_the_culled_one(tiny_run, tmp_path):
    out = tmp_path / "copy"
    subprocess.run(["cp", "-a", tiny_run, out], check=True)
    assert read_control(out / "tasks/train-control/control") is None
    assert "map_50_control" not in json.loads((out / "summary.json").read_text())
    video = next((tiny_run / "footage").glob("*.mp4"))
    done = culling(
        "run", "--preset", "tiny", "--video", video, "--truth", video.with_suffix(".truth.json"), "--out", out,
        "--registry", out / "another-registry", "--set", "control_arm", "true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert "train-student" in summary["tasks_skipped"]
    assert not {"train-control", "evaluate-student"} & set(summary["tasks_skipped"])
    control = read_control(out / "tasks/train-control/control")
    assert control is not None
    assert len(control.frame_ids) == summary["frames_kept"] == 8
    for suffix in ("", "_truth"):
        gain = summary[f"map_50_trained{suffix}"] - summary[f"map_50_control{suffix}"]
        assert summary[f"culling_gain_map_50{suffix}"] == pytest.approx(gain)
    assert f"worth {100 * summary['culling_gain_map_50']:+.1f} points on this camera" in " ".join(done.stdout.split())
    assert "Gain by culling" in (out / "report.html").read_text(encoding="utf-8")
