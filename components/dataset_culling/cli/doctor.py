"""`culling doctor`: check the machine, the store and Kubeflow Pipelines."""

from __future__ import annotations

from pathlib import Path

import click

from dataset_culling.cli.command import PATH, Command, json_option
from dataset_culling.errors import ConfigError


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--overfit", is_flag=True, help="Instead let students overfit eight drawn frames: all, or NAMEs.")
@click.option("--out", type=PATH, default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--store", default="", help="s3://bucket/prefix to try. [default: CULLING_SCRATCH_URI]")
@click.option("--kfp", default="", help="URL of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]")
@click.option("--device", default="auto", show_default=True, help="For --overfit: auto, cpu, cuda or cuda:N.")
@json_option
def doctor(names: tuple[str, ...], overfit: bool, out: Path, store: str, kfp: str, device: str, as_json: bool) -> None:
    """Check that all is here that a run needs, and say what to do where it is not; exits with 3 then.

    \b
    culling doctor --store s3://bucket/prefix
    culling doctor --overfit yolox_nano tiny      mAP@50 above 0.95 on eight frames, or something is broken
    """
    from dataset_culling.engine.doctor import doctor as check_all
    from dataset_culling.engine.doctor import overfit_all
    from dataset_culling.engine.stage_main import choose_device

    if overfit:
        overfit_all(names, device=choose_device(device), as_json=as_json)
    elif names:
        raise ConfigError(f"doctor {names[0]}: names of students need --overfit before them. Add it.")
    else:
        check_all(out=out, store=store, kfp=kfp, as_json=as_json)
