"""Time of planning and applying a fleet.

    python benchmarks/fleet.py [--json FILE] [--rounds 3] [--cameras 1000] [--workers 8]

A cameras.yaml of four kinds of cameras is read, every camera's cron made and compared with as many recurring runs, of
which every tenth has drifted. Then the whole of `culling fleet plan` and `apply`, imports of kfp apart, against the
server of tests/kfp_server.py on loopback, which answers at once and runs in this very process: its time is in these.

Keys: plan_read_s         the file, checked                                        medians of the rounds
      plan_compare_s      crons, digests and differences
      plan_s              both: what a plan costs apart from the cluster's answers      goal < 2
      fleet_plan_s        culling fleet plan, with the listing of every recurring run over HTTP
      fleet_apply_s       culling fleet apply of an empty cluster: three calls a camera
      fleet_apply_calls   how many calls that were
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dataset_culling.cli.program import cli  # noqa: E402
from dataset_culling.fleet.config import read_fleet  # noqa: E402
from dataset_culling.fleet.plan import make_plan, wanted_runs  # noqa: E402
from dataset_culling.kubeflow.compiled import read_compiled  # noqa: E402
from dataset_culling.kubeflow.runs import RecurringRun  # noqa: E402
from kfp_server import kfp_server  # noqa: E402 - a module of the tests

PIPELINE = ROOT / "pipelines" / "compiled" / "gpu.yaml"
KINDS = ("", "    preset: tiny\n", "    classes: [person, truck]\n", "    budget: {target: 128, pool: 512}\n")
ZONES = ("Europe/Berlin", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe")


def write_cameras(path: Path, number: int) -> None:
    """A fleet of `number` cameras."""
    rows = "".join(
        f"  - name: camera-{each:05}\n    source: s3://footage/camera-{each:05}/latest/\n"
        f"    time_zone: {ZONES[each % 4]}\n    hour: {each % 24}\n{KINDS[each // 4 % 4]}"
        for each in range(number)
    )
    path.write_text(f"fleet: bench\npipeline: {{file: {PIPELINE}}}\ncameras:\n{rows}", encoding="utf-8")


def as_found(wanted: dict, version_id: str) -> list[RecurringRun]:
    """Recurring runs as the cluster would hold them, every tenth with another cron than it was made with."""
    return [
        RecurringRun(
            id=f"id-{row}", name=want.name, description=want.description, enabled=True, max_concurrency=1,
            no_catchup=True, version_id=version_id, parameters=dict(want.parameters),
            cron="0 0 0 * * *" if row % 10 == 0 else want.cron,
        )
        for row, want in enumerate(wanted.values())
    ]  # fmt: skip


def culling(*arguments: str) -> float:
    """Seconds of one command."""
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(list(arguments), standalone_mode=False)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cameras", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    given = parser.parse_args()
    compiled, now = read_compiled(PIPELINE), datetime.now(UTC)
    figures: dict[str, list[float]] = {"plan_read_s": [], "plan_compare_s": [], "plan_s": []}
    with tempfile.TemporaryDirectory() as folder, kfp_server() as server:
        file = Path(folder) / "cameras.yaml"
        write_cameras(file, given.cameras)
        known = read_fleet(file)
        wanted = wanted_runs(known, version=compiled.version, defaults=compiled.defaults, now_utc=now)
        found = as_found(wanted, "v1")
        for _ in range(given.rounds):
            begin = time.perf_counter()
            known = read_fleet(file)
            between = time.perf_counter()
            wanted = wanted_runs(known, version=compiled.version, defaults=compiled.defaults, now_utc=now)
            plan = make_plan(
                {name: replace(want) for name, want in wanted.items()}, found, (), fleet="bench", version_id="v1"
            )
            end = time.perf_counter()
            assert plan.counts()["drifted"] >= given.cameras // 10 - given.cameras // 24
            for key, seconds in (
                ("plan_read_s", between - begin),
                ("plan_compare_s", end - between),
                ("plan_s", end - begin),
            ):
                figures[key].append(seconds)
        os.environ["KF_PIPELINES_ENDPOINT"] = server.url
        culling("fleet", "plan", str(file))  # kfp is imported once
        before = len(server.requests)
        figures["fleet_apply_s"] = [culling("fleet", "apply", str(file), "--workers", str(given.workers))]
        figures["fleet_apply_calls"] = [len(server.requests) - before]
        assert len(server.enabled()) == given.cameras
        figures["fleet_plan_s"], figures["fleet_plan_cpu_s"] = [], []
        for _ in range(given.rounds):
            begin = time.process_time()
            figures["fleet_plan_s"].append(culling("fleet", "plan", str(file)))
            figures["fleet_plan_cpu_s"].append(time.process_time() - begin)
    medians = {key: statistics.median(values) for key, values in figures.items()}
    for key, value in medians.items():
        print(f"{key:20} {value:8.3f}")
    if given.json:
        given.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
