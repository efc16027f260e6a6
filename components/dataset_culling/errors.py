"""The exceptions that a user can cause, as one tree with exit codes.

CullingError                    1   (never raised itself)
|-- ConfigError                 2   an option, a preset or a class list is wrong
|-- InputError                  3   an input is missing, broken or empty
|   |-- ArtifactError               a directory written by a stage
|   |   |-- SchemaMismatch          ... of another kind or version
|   |   `-- CorruptArtifact         ... whose bytes do not match its header
|   |-- FootageError                a video
|   |-- WeightsError                a detector's weights
|   `-- ExportLosesAccuracy         an exported student that is less accurate than the trained one
|-- StoreError                  4   the object store
|   |-- MissingObject               ask for another key
|   |-- AccessDenied                fix the credentials
|   |-- TransientStoreError         try again
|   |-- CorruptObject               write it again
|   `-- ObjectChanged               another process wrote first: read it again, then decide again
|       `-- ChampionMoved               ... the pointer to a camera's best model
|-- OutputError                 5   a result cannot be written (permission, disk full)
|-- ClusterError                6   Kubeflow Pipelines refused, or did not answer
|   |-- ClusterConflict             ... because the name is taken
|   `-- ClusterMissing              ... because the name is unknown
`-- StageFailed                 as the stage exited

A message is one line: where, the problem, the remedy. The command line prints it and exits with the number above.
Ctrl-C exits with 130. Any other exception is a bug in this package: it exits with 1 and keeps its traceback.
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
"""Exit codes of the command; `culling --help` and docs/command-line.md print this table."""


class CullingError(Exception):
    """An error that a user can fix. `exit_code` is the exit code of the command line."""

    exit_code = 1


class ConfigError(CullingError):
    """An option, a configuration file or a class list is wrong."""

    exit_code = 2


class InputError(CullingError):
    """An input is missing, broken or empty."""

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
    """The artifact's bytes do not match its header."""

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}. Delete the directory and re-run its stage.")


class FootageError(InputError):
    """A video cannot be used."""


class WeightsError(InputError):
    """A detector's weights are missing, damaged or of another detector."""


class ExportLosesAccuracy(InputError):
    """An exported student is less accurate on the held-out frames than the trained one."""


class StoreError(CullingError):
    """The object store failed or refused a request."""

    exit_code = 4


class MissingObject(StoreError):
    """The store has no object under this key."""


class AccessDenied(StoreError):
    """The store refused the credentials."""


class TransientStoreError(StoreError):
    """The store was busy or did not answer in time, also after retries."""


class CorruptObject(StoreError):
    """The bytes received differ from those stored."""


class ObjectChanged(StoreError):
    """A conditional read or write was refused, because the object has changed."""


class ChampionMoved(ObjectChanged):
    """The camera's champion is no longer the one that the candidate was compared with."""


class OutputError(CullingError):
    """A result cannot be written."""

    exit_code = 5


class ClusterError(CullingError):
    """Kubeflow Pipelines refused a request, or did not answer."""

    exit_code = 6


class ClusterConflict(ClusterError):
    """The name is taken in Kubeflow Pipelines."""


class ClusterMissing(ClusterError):
    """The name is unknown in Kubeflow Pipelines."""


class StageFailed(CullingError):
    """A stage's process ended with an error, which it has already reported."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
