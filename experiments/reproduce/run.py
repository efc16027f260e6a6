"""`python -m experiments.reproduce`: the jobs of a configuration, in order, and what is written of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from dataset_culling.config import did_you_mean, merge, parse_config
from dataset_culling.detectors.table import DESCRIBED, DETECTORS
from dataset_culling.engine.interruption import locked
from dataset_culling.engine.local import RunResult
from dataset_culling.engine.process import start_fork_server
from dataset_culling.errors import ConfigError, InputError, StageFailed
from dataset_culling.footage.find import SUFFIXES
from experiments.reproduce.about import Made, about_this_machine, made_here
from experiments.reproduce.cells import Cell, cells_of
from experiments.reproduce.config import CameraSpec, ReproduceConfig
from experiments.reproduce.page import write_results
from experiments.reproduce.queue import Job, Worker, run_jobs, threads_for
from experiments.reproduce.results import Overlap
from experiments.reproduce.work import (
    Outcome,
    film,
    run_cell,
    share,
    share_gated,
    share_logged,
    untrained,
)

SECONDS = {"film": 0.05, "share": 0.08, "score": 0.03, "step": 0.06, "cell": 12.0}
"""A guess at what a frame, a step and a cell take: it only orders jobs and shares out the time left."""


def reproduce(
    config: ReproduceConfig,
    *,
    preset: str,
    out: Path,
    results: Path,
    jobs: int,
    device: str,
    arguments: Sequence[str],
    say: Callable[[str], None],
) -> Path:
    """Run everything that is not finished, write the results; see `python -m experiments.reproduce --help`.

    Args:
        config: What is run.
        preset: Its name, for the page.
        out: Folder of the work; the same one continues it.
        results: Folder of the page, the CSV files and the plots.
        jobs: Workers; 0: as the configuration says.
        device: As `culling run` takes it.
        arguments: What follows `culling`, for the page.
        say: Told how far it is.

    Returns:
        The page.

    Raises:
        StageFailed: If cells failed; the others' results are still written, with the failures on the page.
        ConfigError: If another process is at work in `out`, or nothing is left to run.
    """
    cells = cells_of(config)
    workers = jobs or config.jobs or len(os.sched_getaffinity(0))
    workers = min(workers, max(1, len(cells)))
    outcomes: dict[Cell, Outcome] = {}
    with locked(out), threads_for(workers) as threads:
        made = made_here(jobs=workers, threads=threads)
        listed = jobs_of(config, cells, out, device=device, outcomes=outcomes, made=made)
        say(
            f"{len(cells)} cells on {len(config.cameras)} cameras, {len(listed)} jobs, {workers} at a time, "
            f"{threads} thread{'s' if threads != 1 else ''} each"
        )
        start_fork_server()  # here, in the main thread: it inherits the number of threads, and dies with who starts it
        failures = run_jobs(listed, workers=workers, say=say)
    if not outcomes:
        name, message = next(iter(failures.items()))
        raise StageFailed(f"{name}: {message}", exit_code=1)
    done = [outcomes[cell] for cell in cells if cell in outcomes]
    rows = [outcome.row for outcome in done]
    about = about_this_machine(
        preset, arguments, made=[outcome.made for outcome in done], failures=failures,
        real_footage=any(camera.video for camera in config.cameras.values()),
    )  # fmt: skip
    page = write_results(
        results,
        config,
        rows=[*untrained(rows), *rows],
        curves=[point for outcome in done for point in outcome.curve],
        overlaps=overlaps_of(outcomes),
        about=about,
    )
    if failures:
        name, message = next(iter(failures.items()))
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise StageFailed(f"{name}{more} failed: {message} {page} has the others.", exit_code=1)
    return page


def jobs_of(
    config: ReproduceConfig,
    cells: Sequence[Cell],
    out: Path,
    *,
    device: str,
    outcomes: dict[Cell, Outcome],
    made: Made,
) -> list[Job]:
    """All jobs: cameras first, then the cells, long ones first so that none is left over at the end.

    Args:
        config: What is run.
        cells: Of it.
        out: Folder of the work.
        device: Where networks run.
        outcomes: Filled as cells end.
        made: Where the work is done.
    """
    shared: dict[str, RunResult] = {}
    cameras = list(dict.fromkeys(cell.camera for cell in cells))
    jobs: list[Job] = []

    def sharing(camera: str, worker: Worker) -> bool:
        result = share(config, camera, out, worker, device=device)
        shared[camera] = result
        return len(result.skipped) < len(result.timings)

    def working(cell: Cell, worker: Worker) -> bool:
        outcome, worked = run_cell(config, cell, shared[cell.camera], out, worker, device=device, made=made)
        outcomes[cell] = outcome
        return worked

    for camera in cameras:
        spec = config.cameras[camera]
        frames = spec.frames + spec.heldout_frames
        variants = {(cell.beyond.gate, cell.beyond.logged) for cell in cells if cell.camera == camera}
        jobs.append(Job(f"{camera} footage", partial(film, config, camera, out), weight=SECONDS["film"] * frames))
        jobs.append(
            Job(
                f"{camera} frames, scores and labels",
                partial(sharing, camera),
                frozenset({f"{camera} footage"}),
                SECONDS["share"] * frames,
            )
        )
        needs = frozenset({f"{camera} frames, scores and labels"})
        if any(gate for gate, _ in variants):
            jobs.append(
                Job(f"{camera} gate", _gated(config, camera, out, device), needs, SECONDS["score"] * spec.frames)
            )
        for gate in (False, True):
            if (gate, True) in variants:
                jobs.append(
                    Job(
                        f"{camera} log{' behind the gate' if gate else ''}",
                        _logged(config, camera, out, device, gate),
                        frozenset({f"{camera} gate"}) if gate else needs,
                        SECONDS["cell"],
                    )
                )
    last = [_cell_job(config, cell, working, outcomes) for cell in cells]
    return jobs + sorted(last, key=lambda job: -job.weight)


def _gated(config: ReproduceConfig, camera: str, out: Path, device: str) -> Callable[[Worker], bool]:
    return lambda worker: share_gated(config, camera, out, worker, device=device)


def _logged(config: ReproduceConfig, camera: str, out: Path, device: str, gate: bool) -> Callable[[Worker], bool]:
    return lambda worker: share_logged(config, camera, out, worker, device=device, gate=gate)


def _cell_job(
    config: ReproduceConfig, cell: Cell, working: Callable[[Cell, Worker], bool], outcomes: Mapping[Cell, Outcome]
) -> Job:
    spec, variant = config.cameras[cell.camera], cell.beyond
    needs = {f"{cell.camera} frames, scores and labels"}
    if variant.logged:
        needs.add(f"{cell.camera} log{' behind the gate' if variant.gate else ''}")
    elif variant.gate:
        needs.add(f"{cell.camera} gate")
    if cell.source is not None:
        needs.add(f"{cell.camera} {cell.source.name}")
    epochs = config.settings.get("train_student", {}).get("recipe", {}).get("epochs", 20)
    if cell.arm == "full":
        epochs = config.full_epochs or epochs
    weight = SECONDS["cell"] + SECONDS["step"] * epochs * (cell.size or spec.frames)

    def told() -> str:
        row = outcomes[cell].row
        return f"agreement {100 * row.agreement:.1f}"

    return Job(f"{cell.camera} {cell.name}", partial(working, cell), frozenset(needs), weight, told)


def overlaps_of(outcomes: Mapping[Cell, Outcome]) -> list[Overlap]:
    """Count precision's picks that each other arm misses, where both were run as in the paper."""
    plain = {
        (cell.camera, cell.size, cell.seed, cell.arm): outcome
        for cell, outcome in outcomes.items()
        if cell.variant == "plain" and cell.opt_resolution == "off" and cell.how.sized
    }
    found = []
    for (camera, size, seed, arm), outcome in sorted(plain.items(), key=lambda item: item[0]):
        best = plain.get((camera, size, seed, "precision"))
        if best is None or arm == "precision":
            continue
        missed = len(best.kept - outcome.kept) / len(best.kept)
        by_chance = 1 - len(outcome.kept) / best.row.frames
        found.append(Overlap(camera, arm, size, seed, missed, by_chance))
    return found


def footage_cameras(folder: Path, classes: tuple[str, ...]) -> dict[str, CameraSpec]:
    """A camera for each video of a folder, and for each folder of segments in it.

    Raises:
        InputError: If the folder is missing or holds no videos.
    """
    found: dict[str, CameraSpec] = {}
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    for entry in entries:
        holds = entry.is_dir() and any(one.suffix.lower() in SUFFIXES for one in entry.rglob("*"))
        if holds or entry.suffix.lower() in SUFFIXES:
            name = re.sub(r"[^a-z0-9]+", "-", entry.stem.lower()).strip("-") or "camera"
            while name in found:
                name += "-2"
            found[name] = CameraSpec(video=str(entry.absolute()), classes=classes)
    if not found:
        raise InputError(f"{folder}: this folder holds no videos. Check --footage.")
    return found


def with_footage(
    config: ReproduceConfig, folder: Path, *, classes: tuple[str, ...], student: Mapping[str, str],
    teacher: Mapping[str, str], fps: float,
) -> ReproduceConfig:  # fmt: skip
    """The same cells on the videos of a folder, for two detectors of their own.

    Raises:
        ConfigError: If a detector is unknown.
        InputError: If the folder holds no videos.
    """
    for role, ref in (("student", student), ("teacher", teacher)):
        described = ref["name"].endswith((".yaml", ".yml"))
        if not described and ref["name"] not in DETECTORS:
            raise ConfigError(
                f"--{role}: no detector is called '{ref['name']}'.{did_you_mean(ref['name'], list(DETECTORS))} "
                f"Known: {', '.join(DETECTORS)}, or a .yaml that describes an exported network."
            )
        if described and not (DESCRIBED / ref["name"]).is_file() and not Path(ref["name"]).is_file():
            raise InputError(f"{ref['name']}: the {role}'s description is missing. Check the path.")
    cameras = footage_cameras(folder, classes)
    grids = [grid.model_dump() | {"cameras": []} for grid in config.grids]
    values = merge(
        config.model_dump(),
        {
            "title": "Real footage: a test of the wiring, not evidence. A student overfits short clips.",
            "proves": False,
            "grids": grids,
            "frames_per_second": fps,
            "gap_s": min(config.gap_s, 5.0),
        },
    )
    values |= {
        "cameras": {name: spec.model_dump() for name, spec in cameras.items()},
        "student": dict(student),
        "teacher": dict(teacher),
    }
    return parse_config(ReproduceConfig, values, where="--footage")
