"""The command line, one file per command: parse, call one function, print. `program.py` lists them and maps errors.

Importing this loads nothing else: multiprocessing imports the script that calls `main` again in every child of a run.
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run `culling`."""
    from dataset_culling.cli.program import main as run

    run()
