"""matplotlib figures as inline SVG that follows the page's theme.

Figures are drawn in stand-in colours, which become CSS variables in the SVG's text, so that one drawing serves light
and dark. Texts stay texts, in the page's own font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

WIDE_PX, NARROW_PX = 680, 340
"""A drawing for screens and one for phones, where text of the wide one would shrink beyond reading."""

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
"""The page's colours by role, for light and for dark. What became of a frame (passed, labelled, kept) is a ramp of
lightness too, so that it can be read without seeing hues."""

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
    """The figures behind a chart, for whoever cannot or will not read it off."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot in two widths, in words and in figures."""

    key: str
    title: str
    text: str  # what it shows and how to read it
    alt: str  # what it says
    wide_svg: str
    narrow_svg: str
    table: Table


def colour(role: str) -> str:
    """The stand-in for a colour of the page."""
    return f"#0101{COLOURS.index(role):02x}"


def draw(
    key: str, plot: Callable[[Figure, bool], None], *, height_px: int, narrow_height_px: int = 0
) -> tuple[str, str]:
    """Let `plot` draw into a wide and a narrow figure; the SVG of both.

    Args:
        key: Names the drawing; ids within it start with it, so that several fit on one page.
        plot: Given an empty figure and whether it is the narrow one.
        height_px: Of the wide figure.
        narrow_height_px: Of the narrow figure; 0: the same.
    """
    sizes = ((WIDE_PX, height_px, False), (NARROW_PX, narrow_height_px or height_px, True))
    wide, narrow = (
        _draw(f"{key}-{'n' if small else 'w'}", plot, width, height, small) for width, height, small in sizes
    )
    return wide, narrow


def legend(axes: Axes, *, columns: int, above: float = 1.0) -> None:
    """A legend above the plot, in the order in which things were drawn but marks last."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: isinstance(handles[place], Line2D) and bool(axes.patches))
    axes.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="lower left",
        bbox_to_anchor=(0.0, above),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.2,
    )


def _draw(key: str, plot: Callable[[Figure, bool], None], width_px: int, height_px: int, narrow: bool) -> str:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key, "svg.id": None}):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        plot(figure, narrow)
        if (layout := figure.get_layout_engine()) is not None:
            # Laid out here once; savefig would draw everything a second time for it.
            layout.execute(figure)
            figure.set_layout_engine(None)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return clean_svg(out.getvalue(), key)


def clean_svg(text: str, key: str) -> str:
    """An SVG document as a decorative inline element: no prolog, unique ids, the page's colours and font."""
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
