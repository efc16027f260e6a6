"""replay/1: the kept frames of a camera's earlier nights, as one run uses them; beside a frames/1 and a labels/1.

The frames of all nights lie in one frames/1 with ids of their own: night k (from 1) has the ids from k x 10^9 on, in
the order of its own frames. `labels/1` uses the same ids. A human check set counts as a night.

    replay.json        the night of each frame, and the camera's champion when the run began
    champion/...       the champion's model/1 from the registry; only if there is one and the run asks for it
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dataset_culling.artifacts.header import Origin, digest, read_record, verify, write_artifact
from dataset_culling.errors import CorruptArtifact

SCHEMA = "replay/1"
FILE = "replay.json"
CHAMPION = "champion"
STRIDE = 10**9
"""Ids of one night; a frame's id is milliseconds since the start of its footage, and 10^9 of them are 11 days."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One night's part of the replay set; ids are those of the replay's frames/1."""

    name: str  # letters, digits, underscores: 20261120, or check
    kind: Literal["night", "check"]  # labelled by the teacher, or by an annotator
    train: tuple[int, ...]  # frames to train on
    heldout: tuple[int, ...]  # frames to evaluate on, never trained on


@dataclass(frozen=True, slots=True)
class Replay:
    """The registry's nights and champion when the run began."""

    champion: int  # version; 0: none, or not asked for
    champion_digest: str  # of its model/1; "" without a champion
    slices: tuple[Slice, ...]

    @property
    def judged(self) -> tuple[Slice, ...]:
        """The slices with frames to evaluate on."""
        return tuple(part for part in self.slices if part.heldout)


def write_replay(path: Path, replay: Replay, origin: Origin) -> None:
    """Write a replay set into the directory `path`; the champion's model lies in `path / CHAMPION` already."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(replay))
        artifact.counts.update(
            slices=len(replay.slices),
            train=sum(len(part.train) for part in replay.slices),
            heldout=sum(len(part.heldout) for part in replay.slices),
        )


def read_replay(path: Path) -> Replay:
    """Read and check a replay set."""
    return read_record(path, SCHEMA, FILE, Replay)


def champion_model(path: Path) -> Path | None:
    """Return the path of the champion's checked model/1; None if the camera had none when the run began."""
    replay = read_replay(path)
    if not replay.champion:
        return None
    model = path / CHAMPION
    if (found := digest(model)) != replay.champion_digest:
        raise CorruptArtifact(model, expected=f"the model {replay.champion_digest[:12]}", found=found[:12])
    verify(model)
    return model
