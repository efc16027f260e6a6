"""`culling stage NAME`: one stage by hand, generated from STAGES."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import CONTEXT, Command, Group
from dataset_culling.engine.stage_main import print_report, run_stage, stage_config, write_kfp_metadata
from dataset_culling.pipeline.graph import STAGES, StageSpec


@click.group(cls=Group)
def stage() -> None:
    """Run one stage by hand: the very command that a pod of the pipeline runs.

    \b
    culling stage cull-confidence --config '{"budget": 64}' --detections DIR --selection DIR
    """


def _stage_command(spec: StageSpec) -> click.Command:
    def callback(**values: Any) -> None:
        paths = {name: Path(values[name]) for name in values if name in all_paths and values[name]}
        config = stage_config(spec, values["config"], values["changes"])
        inputs = {name: path for name, path in paths.items() if name not in spec.writes}
        outputs = {name: path for name, path in paths.items() if name in spec.writes}
        report = run_stage(spec, config, inputs, outputs, task=values["task"], device=values["device"])
        write_kfp_metadata(values["executor_input"], spec, outputs)
        print_report(report)

    all_paths = {**spec.reads, **spec.optional_reads, **spec.writes}
    options: list[click.Parameter] = [
        click.Option(["--config"], default="", help="Configuration as JSON, or @FILE."),
        click.Option(["--set", "changes"], multiple=True, nargs=2, metavar="KEY VALUE", help="One setting."),
        click.Option(
            ["--device"], default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N."
        ),
        click.Option(["--task"], default="", hidden=True),
        click.Option(["--executor-input"], default="", help="KFP's executor input; its metadata is then written."),
    ]
    for name, schema in all_paths.items():
        optional = name in spec.optional_reads
        text = f"Directory of the {schema} artifact that is {'written' if name in spec.writes else 'read'}."
        text += " Optional." if optional else ""
        flags = [f"--{name.replace('_', '-')}", name]
        options.append(click.Option(flags, required=not optional, metavar="DIR", help=text))
    summary = (spec.config.__doc__ or "").strip().splitlines()[0]
    needed = [name for name in all_paths if name not in spec.optional_reads]
    example = f"culling stage {spec.name} " + " ".join(f"--{name.replace('_', '-')} DIR" for name in needed)
    return Command(
        spec.name, params=options, callback=callback, help=f"{summary}\n\n\b\n{example}", context_settings=CONTEXT
    )


for _spec in STAGES.values():
    stage.add_command(_stage_command(_spec))
