"""The smoke run's own part: footage and models into the cluster's store, three runs of the pipeline, their results.

1. `first`: it must succeed, and its figures must be figures.
2. `anew`: the same with `--fresh`, so that nothing comes out of KFP's cache: the figures must be the same, and the
   registry must hold the very version that it held.
3. `again`: the first one's command once more. KFP must take from its cache all that it can, and the figures must be
   the same.

Where the store and KFP are comes from the environment, as for `culling submit`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import dataset_culling
from dataset_culling.artifacts.decision import Decision, read_decision
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.errors import CullingError
from dataset_culling.kubeflow.client import Cluster
from dataset_culling.kubeflow.settings import kfp_settings
from dataset_culling.storage import put_file

MODELS = Path(dataset_culling.__file__).parent / "detectors" / "weights"
DAY = "2026-11-20"
FIGURES = ("map_50_raw", "map_50_trained")
_LINK = re.compile(r"/#/runs/details/(\S+)")


class SmokeFailure(Exception):
    """A failed check of the smoke run, as one line."""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one run."""

    name: str
    state: str
    seconds: float
    from_cache: int
    metrics: Mapping[str, float]
    decision: Decision


def cacheable(compiled: str) -> set[str]:
    """Return the tasks that an equal run must find in the cache: cacheable, with input artifacts from such tasks only.

    Artifacts count by the id under which they were made, parameters by their value (2.17, backend/src/v2/cacheutils).
    """
    tasks = next(iter(yaml.safe_load_all(compiled)))["root"]["dag"]["tasks"]
    makers = {
        name: {each["taskOutputArtifact"]["producerTask"] for each in task["inputs"].get("artifacts", {}).values()}
        for name, task in tasks.items()
    }
    may = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    while gone := {name for name in may if not makers[name] <= may}:
        may -= gone
    return may


def num_from_cache(tasks: Sequence[Any]) -> int:
    """Count a run's cached tasks.

    KFP's compiler puts each task's pod into a node `executor`, and Argo skips it when the driver has found the outputs
    (2.17, argocompiler/container.go).
    """
    return sum(task.name == "executor" and task.state == "SKIPPED" for task in tasks)


def check_figures(result: Result) -> None:
    """Check that a run measured the figures of its report.

    Raises:
        SmokeFailure: If a figure is missing or no mAP.
    """
    for name in FIGURES:
        value = result.metrics.get(name, math.nan)
        if not 0 <= value <= 1:
            raise SmokeFailure(f"{result.name}: expected {name} from 0 to 1, found {value}. See its Evaluation.")


def check_same(before: Result, after: Result) -> None:
    """A run of the same footage must come to the same, and must not make the registry grow.

    Raises:
        SmokeFailure: If a figure of the student, or the version, is another.
    """
    for name, value in before.metrics.items():
        # The champion is another one after the first run, and seconds are never the same.
        if "map_50" in name and "champion" not in name and after.metrics.get(name) != value:
            raise SmokeFailure(
                f"{after.name}: expected {name} {value} as in {before.name}, found {after.metrics.get(name)}."
            )
    if before.decision.version != after.decision.version:
        raise SmokeFailure(
            f"{after.name}: expected version {before.decision.version} of the registry as in {before.name}, "
            f"found {after.decision.version}: the same model was published twice, or is not the same."
        )


def check_cached(result: Result, wanted: int) -> None:
    """Raise a SmokeFailure unless that many tasks were taken from the cache."""
    if result.from_cache != wanted:
        raise SmokeFailure(f"{result.name}: expected {wanted} tasks out of KFP's cache, found {result.from_cache}.")


def culling(*arguments: str | Path) -> list[str]:
    """A command of ours, with this interpreter."""
    return [sys.executable, "-m", "dataset_culling", *(str(each) for each in arguments)]


def upload(prefix: str, out: Path, duration_s: float) -> list[str]:
    """Film a clip, put it and the models into the store.

    Returns:
        Options of `culling submit` that name them.
    """
    clip = out / "clip.mp4"
    subprocess.run(culling("simulate", clip, "--duration", str(duration_s), "--quiet"), check=True)
    put_file(clip, f"{prefix}/footage/clip.mp4")
    options = ["--source", f"{prefix}/footage/", "--set", "registry", f"{prefix}/registry"]
    for role, name in (("student", "tiny"), ("teacher", "tiny_teacher")):
        put_file(MODELS / f"{name}.safetensors", f"{prefix}/weights/{name}.safetensors")
        options += ["--set", f"{role}.weights", f"{prefix}/weights/{name}.safetensors"]
    return options


def submit(name: str, camera: str, pipeline: Path, out: Path, options: Sequence[str | Path]) -> Result:
    """One run, followed to its end by the command that people use.

    Raises:
        SmokeFailure: If it does not succeed.
    """
    began, run_id = time.monotonic(), ""
    command = culling(
        "submit", camera, "--preset", "tiny", "--day", DAY, "--pipeline", pipeline, "--again", "--out", out, *options
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            print(f"  {line}", end="", flush=True)
            run_id = found[1] if (found := _LINK.search(line)) else run_id
    if running.returncode or not run_id:
        raise SmokeFailure(f"{name}: expected the run to succeed, found exit code {running.returncode}. See above.")
    run = Cluster(kfp_settings()).run(run_id)
    if run.state != "SUCCEEDED":
        raise SmokeFailure(f"{name}: expected the state SUCCEEDED, found {run.state}.")
    seconds = time.monotonic() - began
    metrics, decision = read_metrics(out / "metrics"), read_decision(out / "decision")
    return Result(name, run.state, seconds, num_from_cache(run.tasks), metrics, decision)


def three_runs(options: argparse.Namespace) -> None:
    """All of it; raises a SmokeFailure where something is not as it should be."""
    stamp = f"{time.time_ns() // 1_000_000:x}"  # so that a cluster that was used before remembers nothing of this one
    camera, prefix = f"smoke-{stamp}", f"{options.bucket}/smoke/{stamp}"
    out: Path = options.out / stamp
    out.mkdir(parents=True)
    shared = [
        *upload(prefix, out, options.duration_s),
        "--artifacts", f"{options.bucket}/v2/artifacts", "--service-account", options.service_account,
        "--timeout-s", f"{options.timeout_s:g}", "--poll-s", f"{options.poll_s:g}",
    ]  # fmt: skip
    results: list[Result] = []
    for name, more in (("first", []), ("anew", ["--fresh"]), ("again", [])):
        print(f"{name}:", flush=True)
        result = submit(name, camera, options.pipeline, out / name, [*shared, *more])
        print(f"  {name}: {result.state} in {result.seconds:.0f} s, {result.from_cache} tasks from the cache, ", end="")
        print(", ".join(f"{figure} {result.metrics.get(figure, math.nan):.3f}" for figure in FIGURES), flush=True)
        check_figures(result)
        if results:
            check_same(results[0], result)
        results.append(result)
    check_cached(results[1], 0)
    check_cached(results[-1], len(cacheable(options.pipeline.read_text(encoding="utf-8"))))
    rows = [
        {"name": each.name, "state": each.state, "seconds": each.seconds, "from_cache": each.from_cache,
         "metrics": dict(each.metrics), "version": each.decision.version}
        for each in results
    ]  # fmt: skip
    beside = out / ".smoke.json"
    beside.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    beside.replace(out / "smoke.json")
    print(f"smoke.json: {out / 'smoke.json'}")


def main() -> int:
    """Parse, run, say in one line what is wrong; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipeline", type=Path, required=True, help="The compiled pipeline of the profile kind.")
    parser.add_argument("--bucket", required=True, help="s3://BUCKET that the launcher and the stages write to.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for the clip and the results.")
    parser.add_argument("--service-account", default="culling-runner", help="Of the runs' pods.")
    parser.add_argument("--duration-s", type=float, default=120.0, help="Length of the simulated clip.")
    parser.add_argument("--timeout-s", type=float, default=1500.0, help="Longest wait for one run.")
    parser.add_argument("--poll-s", type=float, default=5.0, help="Seconds between looks at a run.")
    options = parser.parse_args()
    try:
        three_runs(options)
    except (SmokeFailure, CullingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(
            f"error: {' '.join(error.cmd)}: expected it to succeed, found exit code {error.returncode}.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
