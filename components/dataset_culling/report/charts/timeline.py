"""Chart of the frames along the footage, and time axes for all charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend, stacked_bars
from dataset_culling.report.run_data import Run
from dataset_culling.types import FloatArray

_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


def timeline_chart(run: Run) -> Chart:
    """Draw the number of frames along the footage by outcome: passed over, labelled, kept, held out."""
    pool, heldout = run.pool, run.heldout
    kept = np.isin(pool.frame_ids, run.kept.frame_ids)
    labelled = np.isin(pool.frame_ids, run.selection.frame_ids) & ~kept
    edges = time_edges(np.concatenate([pool.time_s, heldout.time_s]), 48)
    bars = [
        (label, role, np.histogram(times, edges)[0])
        for label, role, times in (
            ("passed over", "passed", pool.time_s[~kept & ~labelled]),
            ("labelled, left out", "labelled", pool.time_s[labelled]),
            ("kept for training", "kept", pool.time_s[kept]),
            ("held out", "heldout", heldout.time_s),
        )
    ]

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        stacked_bars(axes, edges, bars)
        for start_s, end_s in _stretches(pool.footage.get("missing_stretches_s")):
            axes.axvspan(start_s, end_s, facecolor="none", edgecolor=colour("line"), hatch="///", linewidth=0)
        middle = [
            (float(one["start_s"]) + float(one["end_s"])) / 2
            for one in pool.footage.get("damaged_stretches", ())
            if isinstance(one, Mapping) and "start_s" in one and "end_s" in one
        ]
        if middle:
            axes.plot(middle, np.zeros(len(middle)), "v", color=colour("warn"), markersize=7, clip_on=False,
                      label="damaged footage", zorder=5)  # fmt: skip
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylabel("frames")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        time_axis(axes, pool.start_utc, narrow=narrow)
        legend(axes, columns=2 if narrow else 5)

    kept_counts = bars[2][2]
    busiest = int(np.argmax(kept_counts))
    pairs = [np.add.reduceat(counts, np.arange(0, len(counts), 2)) for *_, counts in bars]
    return Chart(
        "timeline",
        "Position of the frames in the footage",
        "Frames along the footage. The held-out part lies after the rest, with a gap between, so that no frame has a "
        "near-duplicate among those trained on. Hatched stretches are missing from the footage.",
        f"The {len(run.kept):,} kept frames come from {int((kept_counts > 0).sum())} of {len(edges) - 1} equal "
        f"stretches; most of them ({int(kept_counts[busiest])}) from around "
        f"{words.clock(edges[busiest], pool.start_utc)}.",
        *draw("timeline", plot, height_px=250, narrow_height_px=290),
        Table(
            "Frames along the footage",
            ("From", *(label.capitalize() for label, *_ in bars)),
            tuple(
                (words.clock(edges[2 * row], pool.start_utc), *(words.count(counts[row]) for counts in pairs))
                for row in range(len(pairs[0]))
            ),
        ),
    )


def time_edges(time_s: FloatArray, bins: int) -> FloatArray:
    """Return the edges of at most `bins` equal stretches around all times, of a round length."""
    first, last = float(time_s.min()), float(time_s.max())
    length = max(last - first, 1.0)
    width = next((float(step) for step in _STEPS_S if length / step <= bins), length / bins)
    low = np.floor(first / width) * width
    num = max(1, int(np.floor((last - low) / width)) + 1)
    return np.asarray(low + width * np.arange(num + 1), np.float64)


def time_axis(axes: Axes, start_utc: str, *, narrow: bool) -> None:
    """Put ticks at round times of day, or round times in the footage if its start is unknown."""
    low, high = axes.get_xlim()
    step = next((one for one in _TICKS_S if (high - low) / one <= (5 if narrow else 9)), _TICKS_S[-1])
    start = words.parse_start(start_utc)
    shift = (start.hour * 3600 + start.minute * 60 + start.second) if start is not None else 0
    first = np.ceil((low + shift) / step) * step - shift
    ticks = np.arange(first, high + 1e-9, step)
    texts = [words.clock(float(tick), start_utc) for tick in ticks]
    if step >= 60 and start is not None:
        texts = [text[:-3] for text in texts]
    axes.set_xticks(ticks, texts)
    axes.set_xlim(low, high)
    axes.set_xlabel("time of day, UTC" if start is not None else "time in the footage, h:mm:ss")


def _stretches(value: object) -> list[tuple[float, float]]:
    """Return the valid (start_s, end_s) pairs of a list in the footage report."""
    if not isinstance(value, Sequence):
        return []
    return [(float(one[0]), float(one[1])) for one in value if isinstance(one, Sequence) and len(one) == 2]
