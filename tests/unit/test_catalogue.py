"""The catalogue of stages in components/README.md says what the code says; `make golden` writes it anew."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping

from conftest import REPOSITORY
from dataset_culling.pipeline.graph import STAGES, WIRING

HEAD = """# Stages

Inputs, outputs and options of each stage of the pipeline; `make golden` writes this page from `graph.py` and the
configurations. Every stage runs alone, too: `culling stage NAME --config JSON --INPUT DIR --OUTPUT DIR`. All are in one
image (`docker/Dockerfile`, targets `cpu` and `gpu`), which is called with that very command.

Tasks of the pipeline, in order: {tasks}.
"""


def catalogue() -> str:
    tasks = ", ".join(
        f"`{task.name}`" if task.name == task.stage else f"`{task.name}` (`{task.stage}`)" for task in WIRING
    )
    parts = [HEAD.format(tasks=tasks)]
    for spec in STAGES.values():
        folder = f"dataset_culling/stages/{spec.name.replace('-', '_')}"
        purpose = inspect.getdoc(spec.config) or ""
        parts.append(f"## [{spec.name}]({folder}/README.md)\n\n{purpose}\n")
        ports = [
            *_ports("reads", spec.reads),
            *_ports("may read", spec.optional_reads),
            *_ports("writes", spec.writes),
        ]
        parts.append("\n".join(["| | | |", "|---|---|---|", *ports]) + "\n")
        rows = ["| option | default | |", "|---|---|---|"]
        for name, option in spec.config.model_fields.items():
            default = option.get_default(call_default_factory=True)
            shown = getattr(default, "to_json", lambda value=default: repr(value))()
            short = shown if len(shown) <= 60 else f"{shown[:56]} ..."
            rows.append(f"| `{name}` | `{_cell(short)}` | {_cell(option.description or '')} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _ports(word: str, ports: Mapping[str, str]) -> list[str]:
    return [f"| {word} | `{name}` | `{kind}` |" for name, kind in ports.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_catalogue__golden():
    path = REPOSITORY / "components" / "README.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(catalogue(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == catalogue(), "run `make golden` and read the diff"


def test_catalogue__every_option_is_described_and_every_stage_has_a_readme():
    for spec in STAGES.values():
        undescribed = [name for name, option in spec.config.model_fields.items() if not option.description]
        assert undescribed == [], f"{spec.name}: give them a description"
        folder = REPOSITORY / "components" / "dataset_culling" / "stages" / spec.name.replace("-", "_")
        assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {spec.name}")
