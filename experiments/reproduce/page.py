"""The page of a reproduction: Markdown beside its CSV files and plots, the paper's figures beside ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dataset_culling.storage.transfer import write_page
from experiments.reproduce import paper
from experiments.reproduce.about import About
from experiments.reproduce.arms import ARMS, VARIANTS
from experiments.reproduce.charts import draw_charts
from experiments.reproduce.claims import Claim, Pick, by_curve, combined, judge, knees, reference_size, sizes_of
from experiments.reproduce.config import ReproduceConfig
from experiments.reproduce.cost import alike, evened, mean, measured_times, plain_epochs, projected, projected_times
from experiments.reproduce.results import CURVES, OVERLAPS, RESULTS, CurvePoint, Overlap, Row, write_csv

PAGE = "index.md"
NONE = "–"


def write_results(
    folder: Path,
    config: ReproduceConfig,
    *,
    rows: Sequence[Row],
    curves: Sequence[CurvePoint],
    overlaps: Sequence[Overlap],
    about: About,
) -> Path:
    """Write the page, the CSV files and the plots.

    Args:
        folder: Where to.
        config: What was run.
        rows: As measured: so they stand in the CSV file, the page and the plots have them evened (`cost.evened`).
        curves: What optResolution looked at.
        overlaps: Which of precision's picks others miss.
        about: Where and when.

    Returns:
        The page.

    Raises:
        OutputError: If they cannot be written.
    """
    write_csv(folder / RESULTS, Row, rows)
    write_csv(folder / CURVES, CurvePoint, curves)
    write_csv(folder / OVERLAPS, Overlap, overlaps)
    charts = draw_charts(evened(rows), curves, config.project_frames)
    for name, svg in charts.items():
        write_page(folder / name, svg)
    write_page(folder / PAGE, build_page(config, rows, curves, overlaps, about, charts=tuple(charts)))
    return folder / PAGE


def build_page(
    config: ReproduceConfig,
    rows: Sequence[Row],
    curves: Sequence[CurvePoint],
    overlaps: Sequence[Overlap],
    about: About,
    *,
    charts: Sequence[str] = (),
) -> str:
    """The page as Markdown; what does not hold comes first. Arguments as of `write_results`."""
    measured, rows = rows, evened(rows)
    claims = marked(config, rows, curves, overlaps) if config.judges else []
    parts = [
        f"# Reproduction: `{about.preset}`",
        config.title,
        *_first(config, claims, about),
        *_claims(claims),
        *_table_1(config, rows, charts),
        *_table_2(config, rows, charts),
        *_figure_3(rows, charts),
        *_figure_4(curves, charts),
        *_overlaps(overlaps),
        *_beyond(config, rows),
        *_beside_plain(rows),
        *_seconds(measured),
        *_how(config, rows, about),
    ]
    return "\n\n".join(parts) + "\n"


def marked(
    config: ReproduceConfig, rows: Sequence[Row], curves: Sequence[CurvePoint], overlaps: Sequence[Overlap]
) -> list[Claim]:
    """The claims with their verdicts; where figures mean nothing, none is marked by them."""
    claims = judge(rows, curves, overlaps, config.project_frames)
    if config.proves:
        return claims
    return [
        replace(one, verdict="not shown", figures=f"not to be judged by these figures ({one.figures})")
        for one in claims
    ]


# --- parts ---------------------------------------------------------------------------------------------------------


def _first(config: ReproduceConfig, claims: Sequence[Claim], about: About) -> list[str]:
    lines = []
    if about.real_footage:
        lines.append("**A wiring test on real footage**: it proves that the chain works, not that the method is good.")
    if not config.proves:
        lines.append("**These figures prove nothing**, so no claim is marked by them.")
    bad = [one for one in claims if one.verdict == "contradicted"]
    open_ = [one for one in claims if one.verdict == "not shown"]
    if bad:
        named = "\n".join(f"- **{one.key} is contradicted**: {one.text}. Here: {one.figures}." for one in bad)
        lines.append(f"What does not hold here:\n\n{named}")
    if open_:
        lines.append(f"Not shown: {', '.join(one.key for one in open_)}. The figures are below.")
    if about.failures:
        failed = "\n".join(f"- {name}: {_cell(message)}" for name, message in about.failures.items())
        lines.append(f"Not run, as something failed:\n\n{failed}")
    return lines


def _claims(claims: Sequence[Claim]) -> list[str]:
    if not claims:
        return []
    table = _table(
        ("", "claim", "verdict", "figures (points of mAP@50 against the teacher)"),
        [(one.key, one.text, f"**{one.verdict}**", one.figures) for one in claims],
    )
    rules = "\n".join(f"- {one.key}: {one.rule}." for one in claims)
    return ["## The claims", table, f"Verdicts are given by rule (`reproduce/claims.py`):\n\n{rules}"]


def _table_1(config: ReproduceConfig, rows: Sequence[Row], charts: Sequence[str]) -> list[str]:
    sizes = sizes_of(rows)
    if not sizes:
        return []
    parts = ["## Table 1: how many frames are enough", _picture("sizes.svg", "mAP over n", charts)]
    columns = [*(str(size) for size in sizes), "full", "untrained"]
    for group, title in (("surveillance", "Surveillance"), ("sports", "Sports")):
        ours = [row for row in rows if row.group == group]
        if not ours:
            continue
        printed = paper.TABLE_1[group]
        keys = [*sizes, 0]
        picks = [*(Pick("confidence+precision", size) for size in sizes), Pick("full"), Pick("untrained")]
        cells = [list(pick.of(ours).values()) for pick in picks]
        frames = "/".join(f"{n:,}" for n in sorted({row.frames for row in ours}))
        body = [
            (f"paper, agreement ({printed.frames:,} frames)", *(_of(printed.map_points, key) for key in keys),
             f"{printed.untrained_points:.1f}"),
            ("paper, total hours (times cheaper)",
             *(_hours(printed.total_h, key, printed.times) for key in keys), NONE),
            (f"**ours, agreement** ({frames} frames)", *(_spread(found, "agreement") for found in cells)),
            ("**ours, accuracy**, against truth", *(_spread(found, "accuracy") for found in cells)),
            ("training s", *(_seconds_of(found, "training_s") for found in cells[:-1]), NONE),
            ("student scoring s", *(_seconds_of(found, "scored_s") for found in cells[:-1]), NONE),
            ("teacher s", *(_seconds_of(found, "labelled_s") for found in cells[:-1]), NONE),
            ("total s, measured", *(_seconds_of(found, "total_s") for found in cells[:-1]), NONE),
            ("times cheaper than full, measured", *(_times(measured_times(row, rows) for row in found)
             for found in cells[:-2]), "1", NONE),
            (f"hours at {config.project_frames:,} frames, projected",
             *(_projected_hours(found, rows, config.project_frames) for found in cells[:-1]), NONE),
            (f"times cheaper at {config.project_frames:,} frames, projected",
             *(_times(projected_times(row, rows, config.project_frames) for row in found) for found in cells[:-2]),
             "1", NONE),
        ]  # fmt: skip
        teachers = mean(row.teacher_accuracy for row in ours)
        note = "" if math.isnan(teachers) else f" The teacher itself has {100 * teachers:.1f} against the truth."
        parts += [
            f"### {title}",
            _table(("", *columns), body),
            f"Confidence + precision, without optResolution; {len({row.camera for row in ours})} cameras.{note}",
        ]
    return [part for part in parts if part]


def _table_2(config: ReproduceConfig, rows: Sequence[Row], charts: Sequence[str]) -> list[str]:
    size = reference_size(rows)
    if not size:
        return []
    arms = [arm for arm in ARMS.values() if Pick(arm.name, size if arm.sized else 0).of(rows)]
    common = _common_cameras(rows, [Pick(arm.name, size if arm.sized else 0) for arm in arms])
    body = []
    for arm in arms:
        found = [row for row in Pick(arm.name, size if arm.sized else 0).of(rows).values() if row.camera in common]
        printed = paper.TABLE_2.get(arm.name)
        body.append(
            (
                arm.title,
                f"{printed[0]:.1f}" if printed else NONE,
                f"{printed[1]:g}" if printed else NONE,
                _spread(found, "agreement"),
                _spread(found, "accuracy"),
                *(_seconds_of(found, name) if arm.trains else NONE
                  for name in ("training_s", "scored_s", "labelled_s", "total_s")),
                _times(measured_times(row, rows) for row in found) if arm.trains else NONE,
                _projected_hours(found, rows, config.project_frames) if arm.trains else NONE,
                _times(projected_times(row, rows, config.project_frames) for row in found) if arm.trains else NONE,
            )
        )  # fmt: skip
    day = f"{config.project_frames:,}"
    titles = (
        "arm", "paper mAP (Jackson)", "paper GPU h", "agreement", "accuracy", "training s", "scoring s", "teacher s",
        "total s", "times, measured", f"h at {day}, projected", f"times at {day}, projected",
    )  # fmt: skip
    return [
        part
        for part in (
            f"## Table 2: which frames (n = {size})",
            _picture("arms.svg", "agreement over cost", charts),
            _table(titles, body),
            f"Means over the cameras on which all of these were run: {', '.join(sorted(common)) or 'none'}. The "
            f"paper's n is 128.",
        )
        if part
    ]


def _figure_3(rows: Sequence[Row], charts: Sequence[str]) -> list[str]:
    size = reference_size(rows)
    by_judge = {judged: Pick("confidence+precision", size, judged).of(rows) for judged in ("loss", "ap")}
    trained = Pick("confidence+precision", size).of(rows)
    cameras = list(dict.fromkeys(camera for camera, _ in trained))
    if not cameras:
        return []
    body = [
        (
            f"paper, {scene}",
            f"{raw:.1f}",
            f"{after:.1f}",
            f"{small:.1f}",
            NONE,
            f"{full:g}",
            f"{less:g}",
            f"{scale:g}",
            NONE,
        )
        for scene, (raw, after, small, full, less, scale) in paper.FIGURE_3.items()
    ]
    for camera in cameras:
        plain = [row for (one, _), row in trained.items() if one == camera]
        loss, ap = ([row for (one, _), row in by_judge[judged].items() if one == camera] for judged in ("loss", "ap"))
        body.append(
            (
                f"**{camera}**",
                _points(mean(row.raw_agreement for row in plain)),
                _spread(plain, "agreement"),
                _spread(loss, "agreement"),
                _spread(ap, "agreement"),
                f"{mean(row.gflops_full for row in plain):.2f}",
                " / ".join(f"{mean(row.gflops for row in found):.2f}" if found else NONE for found in (loss, ap)),
                " / ".join(f"{mean(row.scale for row in found):.2f}" if found else NONE for found in (loss, ap)),
                f"{mean(row.object_px for row in plain):.0f}",
            )
        )
    titles = (
        "camera", "untrained", "trained", "+ optResolution (loss)", "+ optResolution (AP)", "GFLOPs", "GFLOPs after",
        "scale", "objects px",
    )  # fmt: skip
    text = (
        f"Agreement, n = {size}. Two figures are by loss (the paper's judge) / by AP on the labelled frames. What has "
        f"no ± is of one seed: at scale 1.00 it is the training of that seed, and no difference."
    )
    return [
        part
        for part in ("## Figure 3: untrained, trained, smaller", _picture("cameras.svg", "agreement by camera", charts),
                     _table(titles, body), text)
        if part
    ]  # fmt: skip


def _figure_4(curves: Sequence[CurvePoint], charts: Sequence[str]) -> list[str]:
    found = by_curve(curves)
    if not found:
        return []
    body = []
    for (camera, size, seed), points in found.items():
        loss, fall = knees(points)
        chosen = next((point.scale for point in points if point.chosen), math.nan)
        body.append(
            (camera, str(size), str(seed), f"{chosen:.2f}", f"{loss:.2f}" if loss else "never",
             f"{fall:.2f}" if fall else "never", "; ".join(f"{p.scale:.2f}: {_points(p.map_50)}" for p in points))
        )  # fmt: skip
    titles = ("camera", "n", "seed", "scale taken", "loss over 0.05 at", "mAP a point lower at", "scale: mAP")
    text = (
        "The untrained student on the culled frames, by the paper's judge. The paper prints no values; its stars stand "
        "at 0.5 (Coral) and 0.8 (Jackson). The loss is the sum of squared differences over the sum of squares."
    )
    return [
        part
        for part in ("## Figure 4: mAP and the change of the confidence loss over the scale",
                     _picture("curves.svg", "mAP and loss over the scale", charts), _table(titles, body), text)
        if part
    ]  # fmt: skip


def _overlaps(overlaps: Sequence[Overlap]) -> list[str]:
    arms = [arm for arm in ARMS if any(one.arm == arm for one in overlaps)]
    if not arms:
        return []
    body = []
    for arm in arms:
        found = [one for one in overlaps if one.arm == arm]
        body.append(
            (ARMS[arm].title, paper.MISSED.get(arm, NONE), f"{mean(one.missed_share for one in found):.0%}",
             f"{mean(one.by_chance for one in found):.0%}", str(len(found)))
        )  # fmt: skip
    return [
        "## What else picks of precision's frames",
        _table(("arm", "paper: misses", "misses", "by chance", "pairs"), body),
    ]


def _beyond(config: ReproduceConfig, rows: Sequence[Row]) -> list[str]:
    picks = _variants_of(rows)
    coverage = [Pick("coverage", size) for size in sizes_of(rows, "coverage")]
    if not picks and not coverage:
        return []
    day = f"{config.project_frames:,}"
    body = []
    for pick in [*coverage, *picks]:
        found = pick.of(rows)
        cameras = {camera for camera, _ in found}
        plain = [row for key, row in replace(pick, variant="plain").of(rows).items() if key in found]
        full = [row for row in rows if row.arm == "full" and row.camera in cameras]
        values = list(found.values())
        body.append(
            (
                _titled(pick),
                _spread(values, "agreement"),
                _spread(plain, "agreement") if pick.variant != "plain" else NONE,
                _spread(full, "agreement"),
                _spread(values, "accuracy"),
                _spread(full, "accuracy"),
                _seconds_of(values, "total_s"),
                _times(measured_times(row, rows) for row in values),
                _times(projected_times(row, rows, config.project_frames) for row in values),
                str(len(cameras)),
            )
        )
    titles = (
        "what", "agreement", "without it", "full", "accuracy", "full's", "total s", "times, measured",
        f"times at {day}, projected", "cameras",
    )  # fmt: skip
    text = (
        f"The paper has {paper.TIMES} times at no loss. The log of `logged` is written here from the untrained "
        f"student's own boxes, so its agreement is the same by construction but for rounding: it shows the bill, not "
        f"another model's boxes. Coverage goes by the layout of boxes, without the student's features."
    )
    return ["## Beyond the paper", _table(titles, body), text]


def _beside_plain(rows: Sequence[Row]) -> list[str]:
    """Return the effect of each variant, paired with the plain cell of the same camera and seed."""
    cameras = list(dict.fromkeys(row.camera for row in rows))
    body = []
    for pick in _variants_of(rows):
        ones, plain = pick.of(rows), replace(pick, variant="plain").of(rows)
        pairs = [(ones[key], plain[key]) for key in sorted(ones.keys() & plain.keys())]
        if not pairs:
            continue
        gains = _gains(pairs, "accuracy")
        told = _gains(pairs, "agreement") | gains
        body.append(
            (
                _titled(pick),
                str(combined(_gains(pairs, "agreement")) or NONE),
                str(combined(gains) or NONE),
                *(_mean_and_spread(told[camera]) if camera in told else NONE for camera in cameras),
                f"{sum(value > 0 for values in told.values() for value in values)} of {sum(map(len, told.values()))}",
                "as plain"
                if all(alike(one) == alike(other) for one, other in pairs)
                else f"{mean(one.training_s / other.training_s for one, other in pairs if other.training_s > 0):.2f}",
            )
        )
    if not body:
        return []
    titles = ("variant", "agreement", "accuracy", *cameras, "better in", "training time")
    text = (
        "Points of mAP@50 more than the plain cell of the same camera, n and seed. In *agreement* and *accuracy* ± is "
        "the noise by which claims are judged: twice the standard error over seeds, at least 1 point; 2 with one seed. "
        "By camera and in *better in* it is accuracy, or agreement where the camera's truth is not known, and there ± "
        "is the standard deviation over seeds. All variants are held against the same plain cells, so a lucky one of "
        "those moves them all. Training time is a share of plain's, *as plain* where the same work is done; that of a "
        "variant with a recipe of its own is the median of its own trainings, and where it was trained once or twice "
        "as good as the machine was quiet then."
    )
    return ["## Variants beside plain", _table(titles, body), text]


def _variants_of(rows: Sequence[Row]) -> list[Pick]:
    """Everything that was run beyond the paper, in the order of the variants."""
    return sorted(
        {Pick(row.arm, row.size, row.opt_resolution, row.variant) for row in rows if row.variant != "plain"},
        key=lambda pick: (list(VARIANTS).index(pick.variant), pick.arm, pick.size, pick.opt_resolution),
    )


def _titled(pick: Pick) -> str:
    opt = "" if pick.opt_resolution == "off" else f", optResolution by {pick.opt_resolution}"
    return f"{VARIANTS[pick.variant].title}: {ARMS[pick.arm].title}, n = {pick.size}{opt}"


def _gains(pairs: Iterable[tuple[Row, Row]], what: str) -> dict[str, list[float]]:
    """Points that the first of each pair has more, by camera; what is not known is left out."""
    found: dict[str, list[float]] = {}
    for one, other in pairs:
        if not math.isnan(gain := 100 * (getattr(one, what) - getattr(other, what))):
            found.setdefault(one.camera, []).append(gain)
    return found


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):+.1f}{spread}".replace("-", "\N{MINUS SIGN}")


def _pace(rows: Sequence[Row]) -> str:
    """Seconds to train on a frame once, of all trainings that are alike the plain ones of a camera."""
    plain = {alike(row) for row in rows if (row.variant, row.opt_resolution) == ("plain", "off")}
    paces = [row.step_s for row in rows if alike(row) in plain and row.step_s > 0]
    if not paces:
        return NONE
    several = f" ({min(paces):.4f} to {max(paces):.4f})" if len(paces) > 1 else ""
    return f"{statistics.median(paces):.4f}{several}"


def _seconds(rows: Sequence[Row]) -> list[str]:
    cameras = list(dict.fromkeys(row.camera for row in rows))
    body = []
    for camera in cameras:
        found = [row for row in rows if row.camera == camera and row.arm != "untrained"]
        one = found[0]
        body.append(
            (
                camera, one.group, f"{one.frames:,}", f"{one.heldout_frames:,}", f"{one.student_s:.4f}",
                f"{one.teacher_s:.4f}", _pace(found),
                f"{sum(row.total_s for row in found if row.arm == 'full') / max(1, _count(found, 'full')):.0f}"
                if _count(found, "full") else NONE,
            )
        )  # fmt: skip
    titles = (
        "camera", "group", "frames", "held out", "student s a frame", "teacher s a frame",
        "training s a frame, once (least to most)",
        "full data set s",
    )  # fmt: skip
    text = (
        "Scoring, labelling and extraction were done once a camera. What an arm pays the teacher is the frames it "
        "would have had labelled, times the teacher's measured seconds a frame; training, culls and optResolution are "
        "measured for every cell. The full data set was labelled and trained on whole, so *times, measured* is seconds "
        "over seconds. *Projected* is the cost model of the paper's Table 1 with these seconds, student and full data "
        "set scaled to more frames. Cells ran side by side and beside whatever else the machine did, so the same "
        "training took the least to the most that stand here. Everywhere above, trainings that are alike (same camera, "
        f"side and recipe) are therefore counted at their median pace; {RESULTS} has them as measured."
    )
    return ["## Measured seconds", _table(titles, body), text]


def _how(config: ReproduceConfig, rows: Sequence[Row], about: About) -> list[str]:
    full = {row.epochs for row in rows if row.arm == "full"}
    others = {row.epochs for row in rows if row.arm not in ("full", "untrained") and row.variant != "paper"}
    epochs = f"{_listed(others)} epochs"
    if full - others:
        epochs += (
            f", the full data set {_listed(full)}: its projection has the others' number, its measured seconds do not"
        )
    seeds = sorted({row.seed for row in rows if row.arm != "untrained"})
    return [
        "## How",
        _table(
            ("", ""),
            [
                ("command", f"`{about.command}`"),
                *_made(about),
                ("detectors", f"{config.student.name}, taught by {config.teacher.name}"),
                ("training", epochs),
                ("seeds", _listed(seeds)),
            ],
        ),
        f"Every cell is in [{RESULTS}]({RESULTS}), optResolution's curves in [{CURVES}]({CURVES}), what arms miss of "
        f"precision's picks in [{OVERLAPS}]({OVERLAPS}). Agreement takes the teacher as right, accuracy the true "
        f"boxes; both are mAP at IoU 0.5, in points, on held-out frames from after those to learn from. ± is the "
        f"standard deviation over seeds, meaned over cameras; none where there is one seed.",
    ]


def _made(about: About) -> list[tuple[str, str]]:
    """Describe the commits and machines of the cells, which may be of several runs, and of the page."""
    known = [one for one in about.made if one.commit]
    commits = [f"{one}: {sum(made.commit == one for made in known)} cells"
               for one in dict.fromkeys(made.commit for made in known)]  # fmt: skip
    if len(known) < len(about.made):
        commits.append(f"not recorded: {len(about.made) - len(known)} cells")
    machines = dict.fromkeys(
        f"{one.machine}; {one.jobs} at a time, {one.threads} thread{'s' if one.threads != 1 else ''} each"
        for one in known
    )
    dates = sorted(one.date for one in known)
    return [
        ("commit", "; ".join(commits) or NONE),
        ("date", NONE if not dates else dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"),
        ("machine", " / ".join(machines) or NONE),
        ("this page", f"{about.commit}, {about.date}, on {about.machine}"),
    ]


# --- words -----------------------------------------------------------------------------------------------------------


def _table(titles: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return "\n".join([*lines, *("| " + " | ".join(_cell(one) for one in row) + " |" for row in body)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _picture(name: str, title: str, charts: Sequence[str]) -> str:
    return f"![{title}]({name})" if name in charts else ""


def _points(share: float) -> str:
    return NONE if math.isnan(share) or share < 0 else f"{100 * share:.1f}"


def _spread(rows: Sequence[Row], what: str) -> str:
    """Mean over cameras, with the standard deviation over seeds."""
    by_camera: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(value := float(getattr(row, what))):
            by_camera.setdefault(row.camera, []).append(100 * value)
    if not by_camera:
        return NONE
    middle = statistics.fmean(map(statistics.fmean, by_camera.values()))
    several = [statistics.stdev(values) for values in by_camera.values() if len(values) > 1]
    return f"{middle:.1f}" + (f" ± {statistics.fmean(several):.1f}" if several else "")


def _seconds_of(rows: Sequence[Row], what: str) -> str:
    by_camera: dict[str, list[float]] = {}
    for row in rows:
        by_camera.setdefault(row.camera, []).append(float(getattr(row, what)))
    return f"{statistics.fmean(map(statistics.fmean, by_camera.values())):.1f}" if by_camera else NONE


def _times(values: Iterable[float]) -> str:
    value = mean(values)
    return NONE if math.isnan(value) else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _projected_hours(rows: Sequence[Row], all_rows: Sequence[Row], frames: int) -> str:
    if not rows:
        return NONE
    if rows[0].arm == "full":
        epochs = plain_epochs(all_rows)
        return f"{mean(projected(row, frames, epochs=epochs).total_s for row in rows) / 3600:.2f}"
    return f"{mean(projected(row, frames).total_s for row in rows) / 3600:.2f}"


def _of(values: Mapping[int, float], key: int) -> str:
    return f"{values[key]:g}" if key in values else NONE


def _hours(values: Mapping[int, float], key: int, times: Mapping[int, int]) -> str:
    return _of(values, key) + (f" ({times[key]})" if key in times else "")


def _common_cameras(rows: Sequence[Row], picks: Sequence[Pick]) -> set[str]:
    found = [{camera for camera, _ in pick.of(rows)} for pick in picks]
    return set.intersection(*found) if found else set()


def _count(rows: Sequence[Row], arm: str) -> int:
    return sum(row.arm == arm for row in rows)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(values)) or NONE
