"""detection-log/1: a deployed student's boxes as JSON lines or as COCO json, written frame by frame.

The first line describes the model, every other line holds one frame's boxes; docs/serving.md explains each key.

    {"log": "detection-log/1", "model": {"detector": "tiny", "camera": "gate", "version": 3, "model_digest": "..."},
     "class_names": ["person", "car"], "score_thresholds": {"person": 0.42, "car": 0.37}, "start_utc": "", ...}
    {"frame": 0, "frame_id": 0, "time_s": 0.0, "width_px": 1280, "height_px": 720,
     "boxes_xyxy": [[12.5, 40.25, 80.0, 160.0]], "scores": [0.91], "classes": ["person"]}

Files may be concatenated: a line with "log" describes the model of the lines after it.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from dataset_culling.errors import InputError
from dataset_culling.types import ImageDetections

SCHEMA = "detection-log/1"
FILE, COCO_FILE, VIDEO_FILE = "detections.jsonl", "detections.coco.json", "detections.mp4"

BOX_DIGITS, SCORE_DIGITS, TIME_DIGITS = 2, 5, 6
"""Digits written after the point: a hundredth of a pixel, a microsecond."""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """The model that made the boxes."""

    detector: str
    model_digest: str  # of the model/1 artifact's header, as in the registry
    camera: str = ""  # in the registry; "": the model is in no registry
    version: int = 0  # there; 0: none


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The first line of a log."""

    model: LoggedModel
    class_names: tuple[str, ...]
    score_thresholds: Mapping[str, float]  # boxes scoring less are not in the log
    side_px: int  # short side of the network's input
    start_utc: str = ""  # wall clock at time_s 0, ISO 8601; "": unknown
    frames_per_second: float = 0.0  # as requested; 0: every frame
    sources: tuple[str, ...] = ()  # the files, in time order
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class LoggedFrame:
    """Any other line of a log: one frame."""

    frame: int  # counted from 0 over the processed frames
    frame_id: int  # whole milliseconds since the footage began, as everywhere in this project
    time_s: float
    width_px: int
    height_px: int
    found: ImageDetections  # class ids index the header's class_names
    source: int = 0  # index into the header's sources


class LogWriter(ABC):
    """Writes frames one by one into an open file."""

    @abstractmethod
    def add(self, frame: LoggedFrame) -> None:
        """Append one frame."""

    def finish(self) -> None:  # noqa: B027 - optional
        """Write the end of the file."""

    def close(self) -> None:  # noqa: B027 - optional
        """Release temporary files, finished or not; the open file stays open."""


class JsonLines(LogWriter):
    """Writes the log into an open text file."""

    def __init__(self, file: TextIO, header: LogHeader) -> None:
        self._file, self._names = file, header.class_names
        self._line({"log": SCHEMA, **asdict(header)})

    def add(self, frame: LoggedFrame) -> None:
        """Append one frame."""
        found = frame.found
        self._line(
            {
                "frame": frame.frame,
                "frame_id": frame.frame_id,
                "time_s": round(frame.time_s, TIME_DIGITS),
                "source": frame.source,
                "width_px": frame.width_px,
                "height_px": frame.height_px,
                "boxes_xyxy": _rounded(found.boxes_xyxy, BOX_DIGITS),
                "scores": _rounded(found.scores, SCORE_DIGITS),
                "classes": [self._names[class_id] for class_id in found.class_ids],
            }
        )

    def _line(self, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(values, ensure_ascii=False, separators=(", ", ": ")) + "\n")


class CocoJson(LogWriter):
    """Writes boxes into an open text file as one COCO ground-truth object whose annotations carry scores.

    Image ids are frame ids. Annotations wait in an unnamed file, so memory use does not grow.
    """

    def __init__(self, file: TextIO, header: LogHeader) -> None:
        self._file = file
        # Beside the result, where there is space; without a name, so that a crash leaves nothing behind.
        self._waiting = tempfile.TemporaryFile("w+", encoding="utf-8", dir=Path(file.name).parent)  # noqa: SIM115 - see close
        self._num_images = self._num_boxes = 0
        info = {"description": f"{header.made_by}: boxes seen by {header.model.detector}", **asdict(header)}
        categories = [{"id": row + 1, "name": name} for row, name in enumerate(header.class_names)]
        file.write(f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)},\n"images": [\n')

    def add(self, frame: LoggedFrame) -> None:
        """Append one frame."""
        image = {
            "id": frame.frame_id,
            "file_name": f"{frame.frame_id:012d}.jpg",
            "width": frame.width_px,
            "height": frame.height_px,
            "time_s": round(frame.time_s, TIME_DIGITS),
        }
        self._file.write((",\n" if self._num_images else "") + json.dumps(image))
        self._num_images += 1
        boxes = _rounded(frame.found.boxes_xyxy, BOX_DIGITS)
        scores = _rounded(frame.found.scores, SCORE_DIGITS)
        for (x1, y1, x2, y2), score, class_id in zip(boxes, scores, frame.found.class_ids, strict=True):
            wide, high = round(x2 - x1, BOX_DIGITS), round(y2 - y1, BOX_DIGITS)
            box = {
                "id": self._num_boxes + 1,
                "image_id": frame.frame_id,
                "category_id": int(class_id) + 1,
                "bbox": [x1, y1, wide, high],
                "area": round(wide * high, BOX_DIGITS),
                "iscrowd": 0,
                "score": score,
            }
            self._waiting.write((",\n" if self._num_boxes else "") + json.dumps(box))
            self._num_boxes += 1

    def finish(self) -> None:
        """Append the annotations and close the JSON object."""
        self._file.write('\n],\n"annotations": [\n')
        self._waiting.seek(0)
        while chunk := self._waiting.read(1 << 20):
            self._file.write(chunk)
        self._file.write("\n]}\n")

    def close(self) -> None:
        """Delete the waiting annotations."""
        self._waiting.close()


FORMATS: Mapping[str, tuple[str, Callable[[TextIO, LogHeader], LogWriter]]] = {
    "jsonl": (FILE, JsonLines),
    "coco": (COCO_FILE, CocoJson),
}
"""Name of a format -> file name and writer."""


def read_detection_log(path: Path) -> Iterator[tuple[LogHeader, LoggedFrame]]:
    """Yield every frame of a log with the header before it.

    Raises:
        InputError: If the file is not such a log, or a line is cut off or invalid.
    """
    header: LogHeader | None = None
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    values = json.loads(line)
                    if "log" in values:
                        header = _header(values)
                        continue
                    if header is None:
                        raise ValueError("a frame before any header")
                    frame = _frame(values, header)
                except (ValueError, TypeError, KeyError) as error:
                    raise InputError(
                        f"{path}, line {number}: expected a {SCHEMA}, found {_said(error)}. Write the log again."
                    ) from None
                yield header, frame
    except (OSError, UnicodeDecodeError) as error:
        found = "bytes that are no text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise InputError(f"{path}: expected a detection log, found {found}. Check the path.") from None


def _header(values: dict[str, Any]) -> LogHeader:
    if values.pop("log") != SCHEMA:
        raise ValueError("another kind or version of log")
    lists = {name: tuple(values.get(name, ())) for name in ("class_names", "sources")}
    return LogHeader(**{**values, **lists, "model": LoggedModel(**values["model"])})


def _frame(values: Mapping[str, Any], header: LogHeader) -> LoggedFrame:
    found = ImageDetections(
        np.array(values["boxes_xyxy"], np.float32).reshape(-1, 4),
        np.array(values["scores"], np.float32),
        np.array([header.class_names.index(name) for name in values["classes"]], np.int64),
    )
    if not len(found.boxes_xyxy) == len(found.scores) == len(found.class_ids):
        raise ValueError("boxes, scores and classes that are not equally many")
    return LoggedFrame(
        frame=int(values["frame"]),
        frame_id=int(values["frame_id"]),
        time_s=float(values["time_s"]),
        width_px=int(values["width_px"]),
        height_px=int(values["height_px"]),
        found=found,
        source=int(values.get("source", 0)),
    )


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "a line that is no JSON"
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _rounded(values: np.ndarray[Any, Any], digits: int) -> Any:
    return np.round(values.astype(np.float64), digits).tolist()
