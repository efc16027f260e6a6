"""Grad-Match, Cached-Grad-Match, RandomPB and random subsets against training on everything.

    python benchmarks/subset_selection.py [--json FILE] [--shares 0.1,0.3] [--epochs 20] [--reach 0.98] [--seeds 1]
                                          [--quick]
    python benchmarks/subset_selection.py detection [--json FILE] [--scene street-far] [--minutes 30] [--share 0.3]
                                          [--seed 0] [--quick]

classification   The reference, on the digits that come with scikit-learn (1437 images of 8x8 to learn from, 360 to
    judge on), batches of 20, a small residual network and one of depthwise convolutions, on one core. The seed's three
    tables: learning rates, optimisers, and subsets recorded with the other network. A cell is the processor time
    (choosing included, judging left out) in which training on everything reaches so much of its best accuracy, over
    the time in which the method does; above 1 is faster, 'no' did not get there, with the best accuracy it had.
    Rates are constant. Methods have as many steps as training on everything, but at most four times its epochs; a
    subset is chosen every 5 epochs (CORDS: every 20 of 300). Recorded: once per share, with SGD at 0.01, in
    the third table with the other network. -warm: the first epochs look at everything, for half of the run's steps.
    The last table is how far the chosen batches' gradient is from that of all (sine of the angle between them), which
    is what the pursuit makes small.
detection        One simulated camera, the preset `demo`, all of it one run whose student is trained again for each
    method: mAP on held-out frames against the teacher and against true boxes, and seconds of training.
    cached-rate replays what gradmatch recorded, at half the learning rate; cached as it was.

Keys of --json: TABLE_SHARE_METHOD_COLUMN, speed-ups (0: not reached); for detection METHOD_map_50 and the like, 0..100.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

BATCH, EVERY, RECORDING_RATE = 20, 5, 0.01
MOST_EPOCHS = 4
SEED_TABLES = {
    "rate": {"gradmatch": (0.81, 0.82, 2.72), "cached": (1.00, 0.99, 7.92)},
    "optimizer": {"gradmatch": (0.83, 0.81, 3.07), "cached": (0.67, 0.97, 4.68)},
    "architecture": {"gradmatch": (3.86,), "gradmatch-warm": (4.69,), "cached": (2.24,), "cached-warm": (4.51,)},
}
"""Its figures, on CIFAR-10: Cai, Duan, Agarwal, 2022, Tables 1 to 3."""
TITLES = {
    "rate": "Learning rates (SGD)",
    "optimizer": f"Optimisers (rate {RECORDING_RATE:g} for SGD, a tenth of it for the others)",
    "architecture": "The residual network; cached: subsets recorded with the depthwise one",
}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("classification", "detection"), default="classification")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--quick", action="store_true", help="the wiring only: figures mean nothing")
    parser.add_argument("--shares", default="0.1,0.3", help="budgets, of the batches")
    parser.add_argument("--epochs", type=int, default=20, help="of training on everything")
    parser.add_argument("--reach", type=float, default=0.98, help="of full training's best accuracy, to be reached")
    parser.add_argument("--seeds", type=int, default=1, help="repetitions, of which the median counts")
    parser.add_argument("--scene", default="street-far", help="detection: a scene of `culling simulate`")
    parser.add_argument("--minutes", type=float, default=30.0, help="detection: of video")
    parser.add_argument("--share", type=float, default=0.3, help="detection: the budget")
    parser.add_argument("--seed", type=int, default=0, help="detection: of the training")
    options = parser.parse_args()
    if options.what == "detection":
        figures = detection(options)
    else:
        figures = classification(options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


# -- classification


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) and classes (N,), and those to judge on."""

    images: Any
    classes: Any
    test_images: Any
    test_classes: Any


@dataclass(frozen=True)
class Setting:
    """One training."""

    method: str  # full, gradmatch, cached, random-pb, random
    network: str = "residual"
    optimizer: str = "SGD"
    rate: float = RECORDING_RATE
    share: float = 1.0
    warm: bool = False
    seed: int = 0


Chosen = tuple[int, list[list[int]], list[float], bool]
"""Epoch, groups of rows, their weights, and whether groups are batches."""


@dataclass
class Run:
    """Record of a training, epoch by epoch."""

    seconds: list[float] = field(default_factory=list)  # processor time since the start, without judging
    accuracy: list[float] = field(default_factory=list)
    chosen: list[Chosen] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)  # sine between the subset's gradient and that of all


def classification(options: argparse.Namespace) -> dict[str, float]:
    """The reference: three tables of speed-ups and one of gradients, printed; as flat figures."""
    import torch

    torch.set_num_threads(1)
    shares = [float(share) for share in options.shares.split(",")]
    rates, optimizers = (0.001, 0.003, 0.03), ("Adam", "RMSprop", "SGD")
    epochs, data = options.epochs, digits(keep=120 if options.quick else 0)
    if options.quick:
        shares, rates, optimizers, epochs = shares[-1:], rates[-1:], optimizers[-1:], 2
    figures: dict[str, float] = {}
    apart: dict[tuple[float, str], list[float]] = {}
    cells: dict[tuple[str, float, str, str], list[tuple[float, float]]] = {}  # (speed-up, best accuracy)
    fulls: dict[tuple[str, str], list[tuple[float, float]]] = {}  # (seconds to reach, best accuracy)
    for seed in range(options.seeds):
        tables = {
            "rate": {f"{rate:g}": Setting("full", rate=rate, seed=seed) for rate in rates},
            "optimizer": {
                name: Setting("full", optimizer=name, rate=RECORDING_RATE / (1 if name == "SGD" else 10), seed=seed)
                for name in optimizers
            },
            "architecture": {"speed-up": Setting("full", seed=seed)},
        }
        done: dict[Setting, Run] = {}  # what several tables show is trained once
        for share in shares:
            longest = math.ceil(min(MOST_EPOCHS, 1 / share) * epochs)
            recordings = {}
            for kind, warm in (("residual", False), ("depthwise", False), ("depthwise", True)):
                recorder = Setting("gradmatch", network=kind, share=share, warm=warm, seed=seed)
                recordings[kind, warm] = train(recorder, data, longest, (), math.inf).chosen
            for table, columns in tables.items():
                other = "depthwise" if table == "architecture" else "residual"
                methods = ["gradmatch", "cached", "random-pb", "random"]
                if table == "architecture":
                    methods = ["gradmatch", "gradmatch-warm", "cached", "cached-warm", "random-pb", "random"]
                for column, full in columns.items():
                    whole = done[full] = done.get(full) or train(full, data, epochs, (), math.inf)
                    goal = options.reach * max(whole.accuracy)
                    reference_s = reached_s(whole, goal)
                    fulls.setdefault((table, column), [])
                    if share == shares[0]:
                        fulls[table, column].append((reference_s, max(whole.accuracy)))
                    for method in methods:
                        warm = method.endswith("-warm")
                        setting = replace(full, method=method.removesuffix("-warm"), share=share, warm=warm)
                        if setting.method == "cached":
                            found = train(setting, data, longest, recordings[other, warm], goal)
                        else:
                            found = done[setting] = done.get(setting) or train(setting, data, longest, (), goal)
                        seconds = reached_s(found, goal)
                        cells.setdefault((table, share, method, column), []).append(
                            (reference_s / seconds if seconds < math.inf else 0.0, max(found.accuracy))
                        )
                        if not warm and found.apart:
                            apart.setdefault((share, method), []).extend(found.apart)
                    print(f"seed {seed}, share {share:g}, {table} {column}: done", file=sys.stderr, flush=True)
    for table, title in TITLES.items():
        columns = list(dict.fromkeys(key[3] for key in cells if key[0] == table))
        print(f"\n### {title}\n")
        print(f"| method | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        parts = [fulls[table, column] for column in columns]
        print("| all, s to reach it (best accuracy) | " + " | ".join(
            f"{statistics.median(s for s, _ in part):.2f} ({100 * statistics.median(a for _, a in part):.1f} %)"
            for part in parts
        ) + " |")  # fmt: skip
        for share in shares:
            for method in dict.fromkeys(key[2] for key in cells if key[0] == table):
                values = [cells[table, share, method, column] for column in columns]
                print(f"| {method}, {100 * share:g} % | {' | '.join(said(value) for value in values)} |")
                for column, value in zip(columns, values, strict=True):
                    figures[f"{table}_{100 * share:g}_{method}_{column}"] = statistics.median(one for one, _ in value)
        for method, theirs in SEED_TABLES[table].items():
            if not options.quick:
                print(f"| the seed's {method} (CIFAR-10) | {' | '.join(f'{value:.2f}' for value in theirs)} |")
    print("\n### Sine between the gradient of the chosen batches and that of all\n\n| method | " + " | ".join(
        f"{100 * share:g} %" for share in shares) + f" |\n|---|{'---|' * len(shares)}")  # fmt: skip
    for method in ("gradmatch", "random-pb"):
        means = [statistics.fmean(apart[share, method]) for share in shares]
        print(f"| {method} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        figures.update({f"sine_{100 * share:g}_{method}": mean for share, mean in zip(shares, means, strict=True)})
    return figures


def said(values: Sequence[tuple[float, float]]) -> str:
    """One cell."""
    middle = statistics.median(one for one, _ in values)
    return f"{middle:.2f}" if middle else f"no ({100 * statistics.median(best for _, best in values):.1f} %)"


def reached_s(run: Run, accuracy: float) -> float:
    """Seconds until an epoch's end had the accuracy; infinite if none had."""
    return next((s for s, found in zip(run.seconds, run.accuracy, strict=True) if found >= accuracy), math.inf)


def digits(*, keep: int = 0) -> Digits:
    """scikit-learn's digits, four fifths to learn from; `keep` of them, 0: all."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    images = torch.from_numpy(found.images.astype(np.float32) / 8 - 1)[:, None]
    classes = torch.from_numpy(found.target.astype(np.int64))
    mine, others = train_test_split(np.arange(len(images)), test_size=360, random_state=0, stratify=found.target)
    mine, others = (mine[:keep], others[:keep]) if keep else (mine, others)
    return Digits(images[mine], classes[mine], images[others], classes[others])


def network(kind: str) -> Any:
    """(features, head): a residual network of 76k weights, or inverted residuals with depthwise convolutions, 13k."""
    from torch import nn

    def normed(inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs)]

    class Residual(nn.Module):
        def __init__(self, way: list[nn.Module], short: list[nn.Module], *, bent: bool) -> None:
            super().__init__()
            self.way, self.short, self.bent = nn.Sequential(*way), nn.Sequential(*short), bent

        def forward(self, maps: Any) -> Any:
            found = self.way(maps) + self.short(maps)
            return found.relu() if self.bent else found

    def basic(inputs: int, outputs: int, stride: int) -> nn.Module:
        way = [*normed(inputs, outputs, 3, stride), nn.ReLU(), *normed(outputs, outputs, 3)]
        return Residual(way, [] if stride == 1 else normed(inputs, outputs, 1, stride), bent=True)

    def inverted(inputs: int, outputs: int, stride: int) -> nn.Module:
        wide = 4 * inputs
        way = [
            *normed(inputs, wide, 1), nn.ReLU6(), *normed(wide, wide, 3, stride, wide), nn.ReLU6(),
            *normed(wide, outputs, 1),
        ]  # fmt: skip
        return Residual(way, [], bent=False) if stride == 1 and inputs == outputs else nn.Sequential(*way)

    block, first = (basic, 16) if kind == "residual" else (inverted, 12)
    blocks = [block(first, first, 1), block(first, 2 * first, 2), block(2 * first, 4 * first, 2)]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*normed(1, first, 3), nn.ReLU(), *blocks, *pooled), nn.Linear(4 * first, 10)


def train(setting: Setting, data: Digits, epochs: int, replayed: Sequence[Chosen], wanted: float) -> Run:
    """One training from random weights, until an epoch ends with the wanted accuracy or there is no more epoch."""
    import torch
    from torch import nn

    from dataset_culling.training.techniques.gradmatch.matching import match_batches
    from dataset_culling.training.techniques.subsets import budget_of, random_rows

    torch.manual_seed(setting.seed)
    random = np.random.default_rng([setting.seed, 7])
    features, head = network(setting.network)
    module = nn.Sequential(features, head)
    more = {"momentum": 0.9} if setting.optimizer == "SGD" else {}
    optimizer = getattr(torch.optim, setting.optimizer)(module.parameters(), lr=setting.rate, **more)
    num = len(data.classes)
    fixed = [rows.tolist() for rows in np.split(np.random.default_rng(setting.seed).permutation(num),
                                                range(BATCH, num, BATCH))]  # fmt: skip
    warm = 0 if not setting.warm else round(0.5 * setting.share * epochs)
    run, spent_s = Run(), 0.0
    for epoch in range(epochs):
        started_s = time.process_time()
        extra_s = 0.0
        due = setting.method != "full" and epoch >= warm and (epoch - warm) % EVERY == 0
        if due and setting.method == "random":
            rows = random_rows(num, budget_of(setting.share, num), random)
            run.chosen.append((epoch, [[row] for row in rows.tolist()], [1.0] * len(rows), False))
        elif due and setting.method in ("gradmatch", "random-pb"):
            budget = budget_of(setting.share, len(fixed))
            if setting.method == "gradmatch":
                gradients = head_gradients(features, head, data, fixed)
                places, weights = match_batches(gradients, budget, random)
            else:
                places, weights = random_rows(len(fixed), budget, random), np.ones(budget)
            aside_s = time.process_time()  # not the method's: how good its choice is
            if setting.method == "random-pb":
                gradients = head_gradients(features, head, data, fixed)
            run.apart.append(sine(weights @ gradients[places], gradients.sum(axis=0)))
            extra_s += time.process_time() - aside_s
            run.chosen.append((epoch, [fixed[place] for place in places.tolist()], weights.tolist(), True))
        elif setting.method == "cached" and epoch >= warm:
            now = next((one for one in reversed(replayed) if one[0] <= epoch), replayed[0])
            if not run.chosen or run.chosen[-1] is not now:
                run.chosen.append(now)
        batches = epoch_of(run.chosen[-1] if run.chosen else None, num, random)
        module.train()
        for rows, weight in batches:
            loss = weight * nn.functional.cross_entropy(module(data.images[rows]), data.classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spent_s += time.process_time() - started_s - extra_s
        module.eval()
        with torch.no_grad():
            right = (module(data.test_images).argmax(1) == data.test_classes).float().mean()
        run.seconds.append(spent_s)
        run.accuracy.append(float(right))
        if float(right) >= wanted:
            break
    return run


def epoch_of(chosen: Chosen | None, num: int, random: np.random.Generator) -> list[tuple[list[int], float]]:
    """An epoch's batches in a new order, and what each weighs."""
    if chosen is not None and chosen[3]:
        return [(chosen[1][place], chosen[2][place]) for place in random.permutation(len(chosen[1])).tolist()]
    rows = np.arange(num) if chosen is None else np.array([group[0] for group in chosen[1]])
    shuffled = random.permutation(rows)
    return [(part.tolist(), 1.0) for part in np.split(shuffled, range(BATCH, len(shuffled), BATCH))]


def head_gradients(features: Any, head: Any, data: Digits, batches: Sequence[Sequence[int]]) -> Any:
    """The gradient of each batch's loss at the last layer, (N, D): what the technique gradmatch does for detectors."""
    import torch
    from torch import nn

    features.eval()
    found = []
    for rows in batches:
        with torch.no_grad():
            seen = features(data.images[rows])
        loss = nn.functional.cross_entropy(head(seen), data.classes[rows])
        parts = torch.autograd.grad(loss, list(head.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]).numpy())
    return np.stack(found).astype(np.float64)


def sine(one: Any, other: Any) -> float:
    """Of the angle between two vectors; 1 where one of them is zero."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return math.sqrt(max(0.0, 1 - (float(one @ other) / lengths) ** 2)) if lengths else 1.0


# -- detection

FIGURES = ("map_50_trained", "map_50_95_trained", "map_50_trained_truth", "map_50_95_trained_truth")


def detection(options: argparse.Namespace) -> dict[str, float]:
    """One camera, its student trained by every method; a table, printed, and its figures."""
    minutes, extra = options.minutes, []
    if options.quick:
        minutes = 2.0
        extra = ["train_student.recipe.epochs", "2", "cull_confidence.budget", "24", "cull_precision.budget", "8",
                 "choose_resolution.max_steps", "2", "extract_frames.gap_s", "5"]  # fmt: skip
    techniques = "train_student.recipe.techniques"

    def subsets(technique: str) -> list[str]:
        return [f"{techniques}.{technique}.enabled", "true", f"{techniques}.{technique}.share", str(options.share)]

    half = "0.00025"  # of the preset's rate
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = str(folder / "recorded.jsonl")
        replay = [f"{techniques}.recorded_subsets.source", record]
        methods: Mapping[str, list[str]] = {
            "all": [],
            "gradmatch": subsets("gradmatch"),
            "cached": replay,
            "cached-rate": [*replay, "train_student.recipe.learning_rate", half],
            "all-rate": ["train_student.recipe.learning_rate", half],
            "gradmatch-warm": [*subsets("gradmatch"), f"{techniques}.gradmatch.warm", str(options.share / 2)],
            "random-pb": subsets("random_pb"),
            "random": subsets("random_subset"),
        }
        summaries = {}
        simulate(options.scene, minutes * 60, folder)
        for method, changes in methods.items():
            summaries[method] = one_run(options, folder, method, [*extra, *changes])
            if method == "gradmatch":
                shutil.copyfile(folder / "run" / "tasks" / "train-student" / "model" / "subset.jsonl", record)
            print(f"{method}: done", file=sys.stderr, flush=True)
    figures = {}
    print("| method | mAP@50, teacher | mAP@50:95, teacher | mAP@50, truth | mAP@50:95, truth | training, s |")
    print("|---|---|---|---|---|---|")
    for method, summary in summaries.items():
        found = [100 * summary[name] for name in FIGURES]
        seconds = summary["stage_seconds"]["train-student"]
        print(f"| {method} | {' | '.join(f'{value:.1f}' for value in found)} | {seconds:.1f} |")
        figures.update({f"{method}_{name}": value for name, value in zip(FIGURES, found, strict=True)})
        figures[f"{method}_seconds"] = seconds
    return figures


def _culling(*words: object, stdout: Callable[[], int] | int) -> str:
    command = [sys.executable, "-m", "dataset_culling.cli", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=stdout, text=True)  # type: ignore[arg-type]
    return done.stdout or ""


def simulate(scene: str, seconds: float, folder: Path) -> None:
    """The camera's video and its true boxes."""
    _culling(
        "simulate", folder / "camera.mp4", "--scene", scene, "--duration", seconds, "--fps", "2",
        "--truth", folder / "truth.json", stdout=subprocess.DEVNULL,
    )  # fmt: skip


def one_run(options: argparse.Namespace, folder: Path, method: str, changes: Sequence[str]) -> dict[str, Any]:
    """The main job in the same folder as before: what does not depend on the changes is there already.

    Each method has a registry of its own, so that none meets what another has promoted.
    """
    words = [word for place in range(0, len(changes), 2) for word in ("--set", *changes[place : place + 2])]
    classes = "person" if options.scene.partition("-")[0] in ("lobby", "court") else "person,bicycle,car,truck"
    said = _culling(
        "run", "--preset", "demo", "--video", folder / "camera.mp4", "--truth", folder / "truth.json",
        "--out", folder / "run", "--registry", folder / f"registry-{method}", "--json", "--classes", classes,
        "--set", "train_student.recipe.seed", options.seed, *words, stdout=subprocess.PIPE,
    )  # fmt: skip
    return json.loads(said)


if __name__ == "__main__":
    main()
