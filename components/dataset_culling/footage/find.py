"""Find the files that make up the footage and their times of recording."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dataset_culling.errors import FootageError
from dataset_culling.footage.paths import RemoteVideo, VideoPath
from dataset_culling.storage import Stat, is_remote, list_prefix

if TYPE_CHECKING:
    from dataset_culling.footage.probe import VideoInfo

SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv",
})  # fmt: skip
"""Suffixes of videos in a folder; an explicitly named file may have any suffix."""

MODIFICATION_TIMES = "start times from modification times"
"""Note of `order_by_time` for the weakest source of times: good enough for an order, not for a wall clock."""

_MTIME_SLACK_S = 5.0  # recorders close a file seconds after its last frame


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read."""

    path: VideoPath
    explicit: bool  # named itself, not found in a folder: it must be readable

    @property
    def name(self) -> str:
        """The path or URI, which may hold the time of recording."""
        return str(self.path)


def find_sources(
    sources: Sequence[str], *, list_objects: Callable[[str], Iterable[Stat]] = list_prefix
) -> list[Source]:
    """Expand files, folders and globs, local or in a store; each file once, in the order found.

    Raises:
        FootageError: If a source leads to no file.
        StoreError: If the store cannot be listed.
    """
    found: dict[str, Source] = {}
    for source in sources:
        files = _in_store(source, list_objects) if is_remote(source) else _on_disk(source)
        if not files:
            problem = "no file matches" if glob.has_magic(source) else "no videos under it"
            raise FootageError(f"{source}: {problem}. Check the name; videos end in .mp4, .mkv, .avi or similar.")
        for file in files:
            found.setdefault(str(file.path.resolve() if isinstance(file.path, Path) else file.path), file)
    return list(found.values())


def _on_disk(source: str) -> list[Source]:
    path = Path(source).expanduser()
    if path.is_dir():
        below = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in SUFFIXES and f.is_file()]
        shown = [f for f in below if not any(part.startswith(".") for part in f.relative_to(path).parts)]
        return [Source(file, explicit=False) for file in shown]
    if path.exists() or not glob.has_magic(str(path)):
        return [Source(path, explicit=True)]
    anchor = Path(path.anchor)  # pathlib globs relative patterns only
    matches = sorted(anchor.glob(str(path.relative_to(path.anchor))))
    return [Source(f, explicit=False) for f in matches if f.is_file() and not f.name.startswith(".")]


def _in_store(source: str, list_objects: Callable[[str], Iterable[Stat]]) -> list[Source]:
    folder = source
    if glob.has_magic(source):  # list from the last folder without a wildcard
        plain = re.split(r"[*?\[]", source, maxsplit=1)[0]
        folder = plain[: plain.rindex("/") + 1]
    found = []
    for stat in list_objects(folder):
        uri = stat.uri
        if fnmatchcase(uri, source) if folder != source else uri == source or _is_video_name(uri):
            found.append(Source(RemoteVideo(uri, stat.size, stat.etag), explicit=uri == source))
    return found


def _is_video_name(uri: str) -> bool:
    name = PurePosixPath(uri).name
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES


def time_in_name(name: str, pattern: re.Pattern[str], zone: str) -> datetime | None:
    """Parse the start of recording in a path, in UTC; None if it holds no time.

    Args:
        name: The path or URI; folders may hold the date and the file the time.
        pattern: Groups year, month, day, hour, minute and optionally second; the last match counts.
        zone: IANA name of the time zone of the names.
    """
    last = None
    for match in pattern.finditer(name):
        numbers = {key: int(value) for key, value in match.groupdict().items() if value}
        try:
            last = datetime(**numbers, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        except (ValueError, TypeError):
            continue  # digits of a serial number
    return last


def order_by_time(
    sources: Sequence[Source], infos: Sequence[VideoInfo], *, pattern: re.Pattern[str], zone: str
) -> tuple[list[int], list[datetime | None], str]:
    """Put files in time order by the first method that works for all of them.

    1. Times in the file names.
    2. The container's creation time.
    3. The modification time as the end of the recording, if the files then follow one another without overlap. Copied
       files all carry the time of the copy.
    4. The names in natural order, one file right after the other.

    Returns:
        The order as rows of `sources`, the start times in that order (UTC; None: unknown), and a note on the method.
    """
    rows = range(len(sources))
    named = [time_in_name(source.name, pattern, zone) for source in sources]
    created = [info.created_utc for info in infos]
    for starts, how in ((named, "file names"), (created, "container metadata")):
        known = [start for start in starts if start is not None]
        if len(known) == len(sources) == len(set(known)):
            order = sorted(rows, key=lambda row: known[row])
            return order, [starts[row] for row in order], f"start times from {how}"
    natural = sorted(rows, key=lambda row: _natural(sources[row].name))
    if len(sources) == 1:
        return natural, [None], "start time unknown"
    ended = [source.path.stat().st_mtime if isinstance(source.path, Path) else 0.0 for source in sources]
    by_mtime = sorted(rows, key=lambda row: (ended[row], _natural(sources[row].name)))
    begun = [ended[row] - infos[row].duration_s for row in by_mtime]
    if all(ended) and all(begun[i + 1] >= ended[by_mtime[i]] - _MTIME_SLACK_S for i in range(len(begun) - 1)):
        at_s = begun[0]
        moments: list[datetime | None] = []
        for place, row in enumerate(by_mtime):
            # A file closed late looks like an overlap; no frame was recorded twice.
            at_s = max(at_s, begun[place])
            moments.append(datetime.fromtimestamp(at_s, UTC))
            at_s += infos[row].duration_s
        return by_mtime, moments, MODIFICATION_TIMES
    return natural, [None] * len(sources), "order from names; start times unknown, files taken one right after another"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts cam2 before cam10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def utc_text(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC, to the millisecond."""
    rounded = moment.astimezone(UTC) + timedelta(microseconds=500)
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")
