"""The page that shows how embeddings rank a camera's crops, and what they take for alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataset_culling.report.charts.svg import Table
from dataset_culling.report.pictures import Picture, encode
from dataset_culling.report.templating import render_page
from dataset_culling.report.words import clock
from dataset_culling.types import ImageArray

QUALITY = 82
COLUMNS = (
    "Model", "Map", "Pooling", "Numbers", "Nearest of same class, %", "mAP of the ranking, %",
    "Mean distance, same class", "Mean distance, other classes", "Separation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """A crop as it is shown."""

    image: ImageArray  # (S, S, 3)
    class_name: str
    time_s: float
    distance: float  # cosine distance to the query, 0..2

    @property
    def picture(self) -> Picture:
        """Encoded for the page."""
        return encode(self.image, quality=QUALITY, frame_width_px=self.image.shape[1])

    @property
    def clock(self) -> str:
        """When it was seen, from the start of the footage."""
        return clock(self.time_s, "")


@dataclass(frozen=True, slots=True)
class FalseNeighbour:
    """A query, its nearest crop of another class, and its nearest of its own."""

    query: Seen
    wrong: Seen
    right: Seen

    @property
    def mistaken(self) -> bool:
        """Whether the other class is nearer."""
        return self.wrong.distance < self.right.distance


@dataclass(frozen=True, slots=True)
class Gallery:
    """What one embedding takes for alike."""

    name: str
    role: str  # why it is shown
    num_mistaken: int
    num_queries: int
    shots: tuple[FalseNeighbour, ...]


def embeddings_page(
    run: str, rows: Sequence[tuple[str, ...]], galleries: Sequence[Gallery], *, said: Sequence[str], rule: str
) -> str:
    """The page as HTML, pictures in it; equal figures give equal text.

    Args:
        run: Its name.
        rows: Cells of `COLUMNS`, the best embedding first.
        galleries: At least one.
        said: What to take, in sentences; a line that begins with two spaces is a command.
        rule: Which crops are no neighbours.
    """
    return render_page(
        "embeddings.html.j2",
        run=run,
        table_of=Table("Embeddings, the best ranking first; all figures are means over classes", COLUMNS, tuple(rows)),
        galleries=galleries,
        said=[line for line in said if not line.startswith("  ")],
        commands=[line.strip() for line in said if line.startswith("  ")],
        rule=rule,
    )
