"""matplotlib figures as inline SVG that follows the page's theme.

Figures are drawn in placeholder colours, which become CSS variables in the SVG's text, so that one drawing serves the
light and the dark theme. Text stays text, in the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dataset_culling.types import FloatArray, IntArray

WIDE_PX, NARROW_PX = 680, 340
"""Widths of the drawing for screens and of the one for phones, on which the wide one's text would be unreadable."""

PALETTE: dict[str, tuple[str, str]] = {
    "bg": ("#f7f7f4", "#101315"),
    "surface": ("#ffffff", "#181c1f"),
    "ink": ("#1b1e22", "#e9ebec"),
    "muted": ("#596068", "#a3abb2"),
    "line": ("#dddfda", "#2d3338"),
    "accent": ("#14549c", "#8cc6ff"),
    "passed": ("#c6c9c2", "#434a51"),
    "labelled": ("#a08cd2", "#8f7fc8"),
    "kept": ("#14549c", "#7cc0ff"),
    "heldout": ("#69a892", "#4b937e"),
    "raw": ("#b3661a", "#eaa355"),
    "trained": ("#14549c", "#7cc0ff"),
    "teacher": ("#7355ab", "#bba9f2"),
    "good": ("#1c6b4c", "#7fd3ae"),
    "warn": ("#a93a22", "#ff9478"),
}
"""The page's colours by role: (light theme, dark theme). The states of a frame (passed, labelled, kept) also differ in
lightness, so that they can be read without seeing hues."""

COLOURS = tuple(PALETTE)

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 12.0,
    "font.family": "sans-serif",
    "text.color": f"#0101{COLOURS.index('ink'):02x}",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 1.0,
    "axes.axisbelow": True,
    "axes.edgecolor": f"#0101{COLOURS.index('line'):02x}",
    "axes.labelcolor": f"#0101{COLOURS.index('muted'):02x}",
    "axes.titlecolor": f"#0101{COLOURS.index('ink'):02x}",
    "axes.titlesize": 12.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 12.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": f"#0101{COLOURS.index('line'):02x}",
    "grid.linewidth": 1.0,
    "xtick.major.size": 4.0,
    "ytick.major.size": 0.0,
    "xtick.color": f"#0101{COLOURS.index('line'):02x}",
    "xtick.labelcolor": f"#0101{COLOURS.index('muted'):02x}",
    "ytick.labelcolor": f"#0101{COLOURS.index('muted'):02x}",
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "legend.frameon": False,
    "legend.fontsize": 11.0,
    "legend.handlelength": 1.4,
    "lines.linewidth": 2.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "hatch.linewidth": 1.0,
}


@dataclass(frozen=True, slots=True)
class Table:
    """The figures behind a chart, for readers who cannot see it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot in two widths, with its statement in words and its figures as a table."""

    key: str
    title: str
    text: str  # explanation of the axes and marks
    alt: str  # the chart's statement in one sentence
    wide_svg: str
    narrow_svg: str
    table: Table


def colour(role: str) -> str:
    """Return the placeholder of a colour of the page."""
    return f"#0101{COLOURS.index(role):02x}"


def draw(
    key: str, plot: Callable[[Figure, bool], None], *, height_px: int, narrow_height_px: int = 0
) -> tuple[str, str]:
    """Draw a wide and a narrow figure and return the SVG of both.

    Args:
        key: Prefix of all ids within the drawing, so that several drawings fit on one page.
        plot: Draws into an empty figure; its second argument says if the figure is the narrow one.
        height_px: Height of the wide figure.
        narrow_height_px: Height of the narrow figure; 0: the same.
    """
    return (
        _draw(f"{key}-w", plot, WIDE_PX, height_px, narrow=False),
        _draw(f"{key}-n", plot, NARROW_PX, narrow_height_px or height_px, narrow=True),
    )


def stacked_bars(axes: Axes, edges: FloatArray, parts: Iterable[tuple[str, str, IntArray]]) -> None:
    """Draw a stacked histogram.

    Args:
        axes: Axes to draw on.
        edges: Edges of the B bins, shape (B + 1,).
        parts: (label, colour role, counts of shape (B,)), from the bottom.
    """
    base = np.zeros(len(edges) - 1)
    for label, role, height in parts:
        axes.bar(edges[:-1], height, np.diff(edges) * 0.86, base, align="edge", color=colour(role), label=label)
        base += height


def bars_sideways(axes: Axes, names: Sequence[str]) -> None:
    """Set up axes for one horizontal row per name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", visible=True)
    axes.grid(axis="y", visible=False)


def legend(axes: Axes, *, columns: int) -> None:
    """Add a legend above the plot, in drawing order but line markers last."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: isinstance(handles[place], Line2D) and bool(axes.patches))
    axes.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.2,
    )


def _draw(key: str, plot: Callable[[Figure, bool], None], width_px: int, height_px: int, *, narrow: bool) -> str:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key, "svg.id": None}):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        plot(figure, narrow)
        if (layout := figure.get_layout_engine()) is not None:
            # Lay out once here: savefig would draw everything a second time for it.
            layout.execute(figure)
            figure.set_layout_engine(None)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return clean_svg(out.getvalue(), key)


def clean_svg(text: str, key: str) -> str:
    """Turn an SVG document into a decorative inline element: no prolog, unique ids, the page's colours and font."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{key}-\1"', text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"<svg ", '<svg aria-hidden="true" focusable="false" ', text, count=1)
    text = re.sub(r"#0101([0-9a-f]{2})", lambda found: f"var(--{COLOURS[int(found[1], 16)]})", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    return re.sub(r"\n\s*", "\n", text)
