"""Unfinished work of a stage that outlives its process: boxes of a scan, state of a training.

    CULLING_SCRATCH       a folder that exists and belongs to this task alone; the local engine sets it for every task,
                          to OUT/scratch/TASK/IDENTITY, and removes it when the task is finished
    CULLING_SCRATCH_URI   s3://bucket/prefix for pods, whose disks die with them; shared by all tasks, names in it are
                          digests of the work. Nothing removes these objects: give the prefix a lifecycle rule of days

Without either, nothing is kept and a stage that dies starts over.
"""

from __future__ import annotations

import os
from pathlib import Path

from dataset_culling.errors import ConfigError

SCRATCH = "CULLING_SCRATCH"
SCRATCH_URI = "CULLING_SCRATCH_URI"


def scratch_folder() -> Path | None:
    """Return this task's folder for unfinished work, or None.

    Raises:
        ConfigError: If the environment names a folder that does not exist.
    """
    named = os.environ.get(SCRATCH, "")
    if not named:
        return None
    if not Path(named).is_dir():
        raise ConfigError(f"{SCRATCH}: the folder {named} is missing. Create it, or unset the variable.")
    return Path(named)
