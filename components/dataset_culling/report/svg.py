"""matplotlib figures as inline SVG that follows the page's theme.

Figures are drawn in stand-in colours, which become CSS variables in the SVG's text, so that one drawing serves light
and dark. Texts stay texts, in the page's own font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDE_PX, NARROW_PX = 680, 340
"""A drawing for screens and one for phones, where text of the wide one would shrink beyond reading."""

COLOURS = (
    "ink", "muted", "line", "surface", "passed", "labelled", "kept", "heldout", "raw", "trained", "teacher", "truth",
    "warn",
)  # fmt: skip
"""The page's colours by role; templates/page.html.j2 gives each a value for light and one for dark."""

STYLE = {
    "svg.fonttype": "none",
    "font.size": 12.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 1.0,
    "axes.axisbelow": True,
    "axes.titlesize": 12.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 12.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 1.0,
    "xtick.major.size": 4.0,
    "ytick.major.size": 0.0,
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


def draw(key: str, plot: Callable[[Figure, bool], None], *, height_px: int, narrow_height_px: int = 0) -> tuple[str, str]:
    """Let `plot` draw into a wide and a narrow figure; the SVG of both.

    Args:
        key: Names the drawing; ids within it start with it, so that several fit on one page.
        plot: Given an empty figure and whether it is the narrow one.
        height_px: Of the wide figure.
        narrow_height_px: Of the narrow figure; 0: the same.
    """
    sizes = ((WIDE_PX, height_px, False), (NARROW_PX, narrow_height_px or height_px, True))
    wide, narrow = (_draw(f"{key}-{'n' if small else 'w'}", plot, width, height, small) for width, height, small in sizes)
    return wide, narrow


def quiet_axis(axes: Axes) -> None:
    """Give an axis the page's colours."""
    axes.tick_params(colors=colour("muted"), which="both")
    axes.tick_params(axis="x", color=colour("line"))
    axes.grid(color=colour("line"))
    for spine in axes.spines.values():
        spine.set_color(colour("line"))
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(colour("muted"))
    axes.title.set_color(colour("ink"))


def legend(axes: Axes, *, columns: int, above: float = 1.0) -> None:
    """A legend in one line above the plot."""
    found = axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, above), ncols=columns, borderaxespad=0.2, columnspacing=1.2
    )
    for text in found.get_texts():
        text.set_color(colour("ink"))


def _draw(key: str, plot: Callable[[Figure, bool], None], width_px: int, height_px: int, narrow: bool) -> str:
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key, "svg.id": None}):
        figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")
        plot(figure, narrow)
        for axes in figure.axes:
            quiet_axis(axes)
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
