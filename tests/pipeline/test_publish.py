"""s3:// wherever people name a place: results, pages, truth; what is no place is said before any work."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from conftest import culling
from s3_server import shared_server

pytestmark = pytest.mark.store


@pytest.fixture
def prefix() -> str:
    return f"s3://{shared_server().store().uri('x').split('/')[2]}/{uuid.uuid4().hex}"


def stored(prefix: str) -> dict[str, bytes]:
    """Name below the prefix -> bytes."""
    store, start = shared_server().store(), f"{prefix.split('/')[-1]}/"
    return {found.key[len(start) :]: store.get_bytes(found.key)[0] for found in store.find(start)}


def test_run__results_truth_and_pages_in_a_bucket(tiny_run: Path, tmp_path: Path, prefix: str):
    keys = shared_server().environment()
    video = next((tiny_run / "footage").glob("*.mp4"))
    truth = json.dumps(json.loads(video.with_suffix(".truth.json").read_text())).encode()
    shared_server().store().put_bytes(f"{prefix.split('/')[-1]}/truth.json", truth)
    done = culling(
        "run", "--preset", "tiny", "--video", video, "--out", tmp_path / "run", "--truth", f"{prefix}/truth.json",
        "--publish", f"{prefix}/results", CULLING_CACHE=str(tmp_path / "cache"), **keys,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = stored(prefix)
    summary = json.loads(found["results/summary.json"])
    assert "map_50_trained_truth" in summary
    for name in ("report.html", "config.json", "model/model.safetensors", "model/artifact.json"):
        assert found[f"results/{name}"] == (tmp_path / "run" / name).read_bytes()
    compared = culling("compare", tiny_run, tmp_path / "run", "--out", f"{prefix}/compare.html", **keys)
    assert compared.returncode == 0, compared.stderr
    fleet = culling("fleet", "report", tmp_path, "--out", f"{prefix}/fleet.html", **keys)
    assert fleet.returncode == 0, fleet.stderr
    assert {"compare.html", "fleet.html"} <= set(stored(prefix))


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (("--out", "s3://bucket/run"), "a run works in, found an object's name"),
        (("--publish", "ftp://bucket/run"), "found the scheme 'ftp'"),
        (("--publish", "s3://B/run"), "found the bucket 'B'"),
    ],
)
def test_run__a_place_that_is_none_is_said_before_any_work(tmp_path: Path, arguments: tuple[str, ...], saying: str):
    out = () if "--out" in arguments else ("--out", tmp_path / "run")
    done = culling("run", "--preset", "tiny", *arguments, *out)
    assert done.returncode == 2
    assert saying in done.stderr
    assert not (tmp_path / "run").exists()
