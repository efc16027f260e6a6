"""replay/1: what a camera's earlier nights left behind, as one night's run takes it; frames/1 and labels/1 beside it.

The frames of all nights lie in one frames/1 with ids of their own: night k (from 1) has the ids from k x 10^9 on, in
the order of its own frames. `labels/1` names the same ids. A human check set is a night, too, labelled by a person.

    replay.json        which frame is of which night, and the camera's champion when the run began
    champion/...       that model, a model/1 as it lies in the registry; only where there is one and it was asked for
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dataset_culling.artifacts.header import Origin, digest, read_header, read_json_file, verify, write_artifact
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
    kind: Literal["night", "check"]  # labelled by the teacher, or by a person
    train: tuple[int, ...]  # frames to train on
    heldout: tuple[int, ...]  # frames to judge on, never trained on


@dataclass(frozen=True, slots=True)
class Replay:
    """What the registry held when the run began."""

    champion: int  # version; 0: none, or not asked for
    champion_digest: str  # of its model/1; "" where there is none
    slices: tuple[Slice, ...]

    @property
    def judged(self) -> tuple[Slice, ...]:
        """Those with frames to judge on."""
        return tuple(part for part in self.slices if part.heldout)


def write_replay(path: Path, replay: Replay, origin: Origin) -> None:
    """Write it into the directory `path`, beside the champion's model, which lies in `path / CHAMPION` already.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(replay))
        artifact.counts.update(
            slices=len(replay.slices),
            train=sum(len(part.train) for part in replay.slices),
            heldout=sum(len(part.heldout) for part in replay.slices),
        )


def read_replay(path: Path) -> Replay:
    """Read and check it.

    Raises:
        ArtifactError: If it is no replay/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    values = read_json_file(path, header, FILE)
    try:
        slices = tuple(
            Slice(one["name"], one["kind"], tuple(one["train"]), tuple(one["heldout"])) for one in values["slices"]
        )
        return Replay(int(values["champion"]), str(values["champion_digest"]), slices)
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(path / FILE, expected="a replay set", found=repr(error)) from None


def champion_model(path: Path) -> Path | None:
    """Where the champion's model/1 lies, checked; None where the camera had none when the run began.

    Raises:
        ArtifactError: If it is no replay/1, or damaged.
    """
    replay = read_replay(path)
    if not replay.champion:
        return None
    model = path / CHAMPION
    if (found := digest(model)) != replay.champion_digest:
        raise CorruptArtifact(model, expected=f"the model {replay.champion_digest[:12]}", found=found[:12])
    verify(model)
    return model
