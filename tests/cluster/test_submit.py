"""`culling submit` against a server that speaks KFP's v2beta1 API, through kfp's real client."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.metrics import read_metrics, write_metrics
from dataset_culling.artifacts.report import page_file, write_report
from dataset_culling.storage import open_store, put_tree
from kfp_fixtures import PIPELINE, cameras, culling, server  # noqa: F401 - fixtures
from s3_server import shared_server

BY_HAND = ("submit", "entrance", "--source", "s3://footage/entrance/{day}/", "--preset", "tiny", "--day", "2026-11-20",
           "--pipeline", PIPELINE, "--poll-s", "0.05")  # fmt: skip


def playing(server, *looks: dict[str, str], end: str = "SUCCEEDED", error: str = "") -> None:
    """At each look, the run's tasks are in these states; after the last, the run is in its own."""
    coming = iter(looks)

    def next_look(run) -> None:
        states = next(coming, None)
        if states is None:
            run.update(
                state=end,
                finished_at="2026-11-21T04:00:00Z",
                **({"error": {"code": 9, "message": error}} if error else {}),
            )
            return
        run["state"] = "RUNNING"
        run["run_details"]["task_details"] = [
            {"run_id": run["run_id"], "task_id": name, "display_name": name, "state": state,
             "start_time": "2026-11-21T01:00:00Z",
             **({"end_time": "2026-11-21T01:01:30Z"} if state == "SUCCEEDED" else {})}
            for name, state in states.items()
        ]  # fmt: skip

    server.on_get_run = next_look


def test_submit__uploads_starts_follows_and_says_how_it_ended(server, culling):
    playing(
        server,
        {"root-driver": "RUNNING"},
        {"extract-frames": "RUNNING", "extract-frames-driver": "SUCCEEDED"},
        {"extract-frames": "SUCCEEDED", "score-frames": "RUNNING"},
        {"extract-frames": "SUCCEEDED", "score-frames": "SUCCEEDED"},
    )
    said = culling(*BY_HAND)
    assert said.code == 0, said.err
    (run,) = server.runs.values()
    assert run["display_name"] == "entrance-2026-11-20"
    given = run["runtime_config"]["parameters"]
    assert (given["footage"], given["day"]) == (["s3://footage/entrance/{day}/"], "2026-11-20")
    assert "fresh" not in given
    assert server.experiments[run["experiment_id"]]["display_name"] == "entrance"
    assert f"{server.url}/#/runs/details/{run['run_id']}" in said.out
    progress = [line for line in said.out.splitlines() if line.startswith("[")]
    assert progress == [
        "[ 0/15] Frame extraction: running",
        "[ 1/15] Frame extraction: succeeded in 90 s",
        "[ 1/15] Student scoring: running",
        "[ 2/15] Student scoring: succeeded in 90 s",
    ]
    assert "entrance-2026-11-20: succeeded" in said.out
    assert "pass --artifacts" in said.out


def test_submit__equal_bytes_are_one_version(server, culling, tmp_path):
    playing(server)
    assert "uploaded" in culling(*BY_HAND).out
    assert "there already" in culling(*BY_HAND).out
    assert len(server.versions) == 1
    assert len(server.runs) == 2
    other = tmp_path / "pipeline.yaml"
    other.write_text(PIPELINE.read_text() + "# another\n")
    assert "uploaded" in culling(*BY_HAND, "--pipeline", other).out
    assert [len(server.pipelines), len(server.versions)] == [1, 2]


@pytest.mark.parametrize(("end", "code"), [("FAILED", 7), ("CANCELED", 8), ("SKIPPED", 8)])
def test_submit__exit_code_is_the_runs_end(server, culling, end, code):
    playing(server, {"extract-frames": "FAILED"}, end=end, error="task extract-frames: exit code 3")
    said = culling(*BY_HAND)
    assert said.code == code
    assert "exit code 3" in said.out


def test_submit__the_same_command_joins_a_run_that_goes_on(server, culling):
    playing(server)
    assert culling(*BY_HAND, "--no-wait").code == 9
    assert "goes on already" in culling(*BY_HAND, "--no-wait").out
    assert len(server.runs) == 1
    assert culling(*BY_HAND, "--no-wait", "--set", "cull_precision.budget", "7").code == 9
    assert len(server.runs) == 2
    assert culling(*BY_HAND, "--no-wait", "--again").code == 9
    assert len(server.runs) == 3
    first = next(iter(server.runs))
    assert culling("submit", "--follow", first, "--pipeline", PIPELINE, "--poll-s", "0.05").code == 0


def test_submit__stops_looking_when_told_so(server, culling):
    playing(server, *[{"extract-frames": "RUNNING"}] * 100)
    assert culling(*BY_HAND, "--timeout-s", "0.1").code == 9
    assert next(iter(server.runs.values()))["state"] == "RUNNING"


def test_submit__a_lost_answer_starts_no_second_run(server, culling):
    playing(server)
    server.fail("POST /apis/v2beta1/runs$", 503, times=1, after=True)
    server.fail("GET /apis/v2beta1/runs/", 502, times=2)
    assert culling(*BY_HAND).code == 0
    assert len(server.runs) == 1


def test_submit__a_camera_of_the_fleet(server, culling, cameras):
    playing(server)
    file = cameras("entrance", top="service_account: culling-runner\npipeline_root: s3://culling/runs\n",
                   entrance="    budget: {target: 9, pool: 30}\n")  # fmt: skip
    said = culling("submit", "entrance", "--cameras", file, "--day", "2026-11-20", "--poll-s", "0.05", "--json",
                   "--artifacts", file.parent / "nothing-there")  # fmt: skip
    assert said.code == 0
    assert said.json["state"] == "SUCCEEDED"
    assert said.json["files"] == {}
    (run,) = server.runs.values()
    assert run["service_account"] == "culling-runner"
    assert run["runtime_config"]["pipeline_root"] == "s3://culling/runs"
    assert run["runtime_config"]["parameters"]["target"] == 9
    assert server.experiments[run["experiment_id"]]["display_name"] == "lot-entrance"
    assert culling("submit", "yard", "--cameras", file).code == 2


def test_submit__report_and_metrics_come_here(server, culling, tmp_path):
    """The launcher's layout, ROOT/PIPELINE/RUN/TASK/SALT/OUTPUT, in a folder that stands for the bucket."""
    playing(server)
    root, origin = tmp_path / "bucket", Origin(made_by="render-report")

    def upload(run) -> None:
        run.update(state="SUCCEEDED", finished_at="2026-11-21T04:00:00Z")
        outputs = root / "specialise-camera" / run["run_id"]
        write_report(
            outputs / "render-report" / "5a17" / "report", "<html>the page</html>", {"camera": "entrance"}, origin
        )
        write_metrics(outputs / "evaluate-student" / "5a18" / "metrics", {"map_50_trained": 0.8}, origin)

    server.on_get_run = upload
    said = culling(*BY_HAND, "--artifacts", root, "--out", tmp_path / "here", "--json")
    assert said.code == 0, said.err
    files = said.json["files"]
    assert set(files) == {"report", "metrics"}
    assert page_file(Path(files["report"])).read_text() == "<html>the page</html>"
    assert read_metrics(Path(files["metrics"])) == {"map_50_trained": 0.8}
    assert json.loads((Path(files["report"]) / "summary.json").read_text())["camera"] == "entrance"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("submit", "--source", "s3://a/"), "expected the camera's name"),
        (("submit", "entrance", "--source", "day.mp4"), "found day.mp4"),
        (
            ("submit", "entrance", "--source", "s3://a/", "--day", "20.11."),
            "day: expected a date such as 2026-11-20, found '20.11.'",
        ),
        (
            ("submit", "entrance", "--source", "s3://a/", "--pipeline", "nowhere.yaml"),
            "nowhere.yaml: expected a compiled",
        ),
        (("submit", "entrance", "--source", "s3://a/", "--host", "kfp.example"), "expected http://HOST:PORT"),
    ],
)
def test_submit__what_is_wrong_is_said_in_one_line(server, culling, arguments, said):
    refused = culling(*arguments)
    assert refused.code == 2
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert server.changing() == []


def test_submit__report_comes_from_a_real_bucket(server, culling, tmp_path, monkeypatch):
    bucket = shared_server()
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    root = f"minio://{bucket.bucket}/runs-{uuid.uuid4().hex}"  # KFP's own way of writing it

    def upload(run) -> None:
        run.update(state="SUCCEEDED", finished_at="2026-11-21T04:00:00Z")
        made = tmp_path / "made"
        write_report(made, "<html>the page</html>", {"camera": "entrance"}, Origin(made_by="render-report"))
        store, key = open_store(f"{root}/specialise-camera/{run['run_id']}/render-report/5a17/report/")
        put_tree(store, made, key)

    server.on_get_run = upload
    said = culling(*BY_HAND, "--pipeline-root", root, "--out", tmp_path / "here")
    assert said.code == 0, said.err
    assert page_file(tmp_path / "here" / "report").read_text() == "<html>the page</html>"
