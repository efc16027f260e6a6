"""The smoke run's three runs, against a server that speaks KFP's API and a real object store.

What a cluster would do in between (drivers, launchers, pods) is played; what the script sends, waits for, reads and
concludes is real.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from conftest import REPOSITORY
from dataset_culling.artifacts.decision import Decision, write_decision
from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.storage import list_prefix, open_store, put_tree
from kfp_fixtures import PIPELINE, server  # noqa: F401 - a fixture
from s3_server import shared_server

SCRIPT = REPOSITORY / "scripts" / "smoke" / "three_runs.py"
FROM_CACHE = 7
"""All but Footage, Evaluation and Promotion, which are never cached, and the Report, which reads what they write."""


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("three_runs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["three_runs"] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


THREE_RUNS = _load()


@pytest.fixture
def smoke(server, tmp_path, monkeypatch):
    """Run three_runs.py; `played` says, run by run, (mAP@50 of the student, tasks from the cache)."""
    store = shared_server()
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    for name in ("CULLING_KFP_TOKEN", "CULLING_KFP_COOKIES", "KF_PIPELINES_SA_TOKEN_PATH", "CULLING_KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)

    def run(*played: tuple[float, int], end: str = "SUCCEEDED") -> subprocess.CompletedProcess[str]:
        coming = iter(played)

        def look(found) -> None:
            if found.get("state") == end:
                return
            map_50, from_cache = next(coming)
            camera = found["runtime_config"]["parameters"]["camera"]
            folder, origin = tmp_path / found["run_id"], Origin(made_by="a player")
            write_metrics(folder / "metrics", {"map_50_raw": 0.25, "map_50_trained": map_50}, origin)
            decision = Decision(True, "Promoted: it is better.", camera, version=1, champion_before=0, champion_after=1)
            write_decision(folder / "decision", decision, origin)
            bucket, key = open_store(f"s3://{store.bucket}/v2/artifacts/specialise-camera/{found['run_id']}/")
            for name in ("metrics", "decision"):
                put_tree(bucket, folder / name, f"{key}a-task/5a17/{name}/")
            found["run_details"]["task_details"] = [
                {"task_id": str(number), "display_name": "executor", "state": state}
                for number, state in enumerate(["SKIPPED"] * from_cache + ["SUCCEEDED"] * (13 - from_cache))
            ]
            found.update(state=end, finished_at="2026-11-21T04:00:00Z")

        server.on_get_run = look
        command = [
            sys.executable,
            SCRIPT,
            "--pipeline",
            PIPELINE,
            "--bucket",
            f"s3://{store.bucket}",
            "--out",
            tmp_path,
            "--duration-s",
            "2",
            "--poll-s",
            "0.05",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))

    return run


def test_three_runs__proves_the_same_figures_and_the_cache(server, smoke, tmp_path):
    done = smoke((0.5, 0), (0.5, 0), (0.5, FROM_CACHE))
    assert done.returncode == 0, done.stderr
    first, anew, again = server.runs.values()
    sent = [run["runtime_config"]["parameters"] for run in (first, anew, again)]
    assert len(sent[1].pop("fresh")) > 8
    assert sent[0] == sent[1] == sent[2]
    for uri in (sent[0]["footage"][0], sent[0]["student_weights"], sent[0]["teacher_weights"]):
        assert list_prefix(uri), f"{uri} is not in the store"
    assert sent[0]["registry"].startswith(f"s3://{shared_server().bucket}/smoke/")
    assert len({run["pipeline_version_reference"]["pipeline_version_id"] for run in (first, anew, again)}) == 1
    (written,) = tmp_path.glob("*/smoke.json")
    rows = json.loads(written.read_text())
    assert [(row["name"], row["from_cache"]) for row in rows] == [("first", 0), ("anew", 0), ("again", FROM_CACHE)]


def test_three_runs__a_failed_run_is_one_line(smoke, tmp_path):
    done = smoke((0.5, 0), end="FAILED")
    assert done.returncode == 1
    assert done.stderr == "error: first: expected the run to succeed, found exit code 7. See above.\n"
    assert not list(tmp_path.glob("*/smoke.json"))


def result(name: str = "first", *, from_cache: int = 0, version: int = 1, **metrics: float) -> Any:
    decision = Decision(True, "Promoted.", "smoke", version, 0, version)
    figures = {"map_50_raw": 0.25, "map_50_trained": 0.5, **metrics}
    return THREE_RUNS.Result(name, "SUCCEEDED", 1.0, from_cache, figures, decision)


def test_check_same__the_champion_and_seconds_may_differ():
    THREE_RUNS.check_same(result(score_s=1.0), result("again", map_50_champion=0.5, score_s=2.0))


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            lambda: THREE_RUNS.check_same(result(), result("again", map_50_trained=0.4)),
            "again: expected map_50_trained 0.5 as in first, found 0.4",
        ),
        (
            lambda: THREE_RUNS.check_same(result(), result("again", version=2)),
            "again: expected version 1 of the registry",
        ),
        (
            lambda: THREE_RUNS.check_cached(result("cached", from_cache=8), 9),
            "cached: expected 9 tasks out of KFP's cache",
        ),
        (lambda: THREE_RUNS.check_figures(result(map_50_raw=7.0)), "first: expected map_50_raw from 0 to 1, found 7.0"),
    ],
)
def test_check__says_what_is_not_so(check, said):
    with pytest.raises(THREE_RUNS.SmokeFailure, match=re.escape(said)):
        check()


def test_cacheable__is_what_no_uncached_task_makes_artifacts_for():
    found = THREE_RUNS.cacheable(PIPELINE.read_text())
    assert len(found) == FROM_CACHE
    assert "extract-frames" in found  # what it takes of Footage are values
    assert not {"find-footage", "evaluate-student", "promote-student", "render-report"} & found
