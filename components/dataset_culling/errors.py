"""Every error that a user can cause, as one tree.

CullingError                    1   (never raised itself)
|-- ConfigError                 2   an option, a preset or a class list is wrong
|-- InputError                  3   what was read is missing, broken or empty
|   |-- ArtifactError               a directory written by a stage
|   |   |-- SchemaMismatch          ... of another kind or version
|   |   `-- CorruptArtifact         ... whose bytes are not what its header says
|   |-- FootageError                a video
|   |-- WeightsError                a detector's weights
|   `-- ExportLosesAccuracy         an exported student that sees less than the trained one
|-- StoreError                  4   the object store
|   |-- MissingObject               ask for another key
|   |-- AccessDenied                mend the credentials
|   |-- TransientStoreError         try again
|   |-- CorruptObject               write it again
|   `-- ObjectChanged               somebody else wrote first: read it again, then decide again
|       `-- ChampionMoved               ... the pointer to a camera's best model
|-- OutputError                 5   a result cannot be written (permission, disk full)
|-- ClusterError                6   Kubeflow Pipelines refused, or did not answer
|   |-- ClusterConflict             ... because there is one of that name already
|   `-- ClusterMissing              ... because there is none of that name
`-- StageFailed                 as the stage exited

A message is one line: where, what was wanted, what was there, what to do. The command line prints it and exits with
the number above; Ctrl-C exits with 130; any other exception is a bug of ours, exits with 1 and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "a bug of ours, or a stage was killed; the message names its log",
    2: "an option or a configuration is wrong",
    3: "footage, weights, a run or an artifact cannot be used; doctor found something wrong",
    4: "the object store refused or did not answer",
    5: "a result cannot be written (permission, disk full)",
    6: "Kubeflow Pipelines refused or did not answer",
    7: "`culling submit`: the run failed",
    8: "`culling submit`: the run was canceled",
    9: "`culling submit`: the run still goes on",
    10: "`culling fleet`: there is something to do",
    11: "`culling fleet`: an old schedule waits for its live run; apply again",
    130: "Ctrl-C; everything started has ended",
    141: "the reader of the output stopped reading, as `| head` does",
}
"""What the command exits with; `culling --help` and docs/command-line.md print this table."""


class CullingError(Exception):
    """What a user can mend. `exit_code` is what the command line exits with."""

    exit_code = 1


class ConfigError(CullingError):
    """An option, a configuration file or a class list is wrong."""

    exit_code = 2


class InputError(CullingError):
    """Something that was to be read is missing, broken or empty."""

    exit_code = 3


class ArtifactError(InputError):
    """A directory that a stage wrote cannot be used."""


class SchemaMismatch(ArtifactError):
    """The artifact's header names another kind or version."""

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        kind = expected.split("/")[0]
        super().__init__(
            f"{path}: expected artifact {expected}, found {found}. "
            f"Re-run the stage that writes '{kind}', or pass the right directory to --{kind}."
        )


class CorruptArtifact(ArtifactError):
    """The artifact's bytes are not what its header says."""

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}. Delete the directory and re-run its stage.")


class FootageError(InputError):
    """A video cannot be used."""


class WeightsError(InputError):
    """A detector's weights cannot be had or do not fit it."""


class ExportLosesAccuracy(InputError):
    """An exported student sees less on the held-out frames than the one it was made from."""


class StoreError(CullingError):
    """The object store did not do what was asked."""

    exit_code = 4


class MissingObject(StoreError):
    """No object of that key."""


class AccessDenied(StoreError):
    """The store refused the credentials."""


class TransientStoreError(StoreError):
    """The store did not answer in time or was busy, and retrying did not help."""


class CorruptObject(StoreError):
    """What arrived is not what was stored."""


class ObjectChanged(StoreError):
    """A conditional write or read was refused, as the object is no longer what the asker believed."""


class ChampionMoved(ObjectChanged):
    """The camera's champion is no longer the one that the candidate was compared with."""


class OutputError(CullingError):
    """A result cannot be written."""

    exit_code = 5


class ClusterError(CullingError):
    """Kubeflow Pipelines refused what was asked, or did not answer."""

    exit_code = 6


class ClusterConflict(ClusterError):
    """Kubeflow Pipelines has one of that name already."""


class ClusterMissing(ClusterError):
    """Kubeflow Pipelines has none of that name."""


class StageFailed(CullingError):
    """A stage's process ended with an error, which it has already explained."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
