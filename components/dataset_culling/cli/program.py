"""The command line. Errors of the user's making are one line and an exit code; see `errors.EXIT_CODES`."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from dataset_culling import __version__
from dataset_culling.cli.command import (
    CONTEXT,
    NORMAL,
    QUIET,
    VERBOSE,
    Command,
    Group,
    Program,
    set_up_logging,
    verbosity,
    verbosity_options,
)
from dataset_culling.cli.compare import compare_command
from dataset_culling.cli.complete import completion, detector_names, preset_names, profile_names, scene_names
from dataset_culling.cli.fleet_report import fleet_report_command
from dataset_culling.cli.footage import footage
from dataset_culling.cli.models import models
from dataset_culling.cli.predict import predict
from dataset_culling.cli.propose import propose_command
from dataset_culling.cli.students import students
from dataset_culling.config import merge, parse_config, read_yaml
from dataset_culling.engine.stage_main import choose_device, die_with_parent, run_stage, stage_config
from dataset_culling.errors import EXIT_CODES, ConfigError, CullingError
from dataset_culling.pipeline.graph import STAGES, PipelineConfig, StageSpec
from dataset_culling.runner.fleet import fleet
from dataset_culling.runner.submit import submit

EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {meaning}" for code, meaning in EXIT_CODES.items())
EXTRAS = {
    "torch": "torch", "torchvision": "torch", "safetensors": "torch", "onnx": "torch", "onnxruntime": "torch",
    "openvino": "torch", "minio": "store", "kfp": "kubeflow", "kfp_kubernetes": "kubeflow",
    "docker": "kubeflow", "laptrack": "tracks",
}  # fmt: skip
"""Modules that only some commands need -> the extra that brings them."""


@click.group(cls=Program, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, prog_name="culling")
def cli() -> None:
    """A small, fast, accurate object detector for every fixed camera.

    \b
    culling run                                     the main job on a simulated camera
    culling run --video day.mp4 --classes person,car --student yolox_nano --teacher teacher.yaml
    culling compare runs/monday runs/tuesday        several runs side by side
    culling predict runs/demo/model day.mp4         what the student sees: boxes, and a video with them
    culling show runs/demo/tasks/cull-precision/kept
    culling COMMAND --help                          says more, with examples
    """


cli.params += verbosity_options()


def _split(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for item in items for part in item.split(",") if part.strip())


@cli.command()
@click.option(
    "--video",
    "videos",
    multiple=True,
    help="Video, folder of segments, glob or s3:// prefix; may repeat. Without it a simulated camera is used.",
)
@click.argument("more_videos", nargs=-1)
@click.option("--classes", multiple=True, help="The camera's classes, e.g. person,vehicle=car+truck+bus.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/latest"), show_default=True, help="Folder of the run."
)
@click.option(
    "--preset",
    default="",
    shell_complete=preset_names,
    help="Named settings: see 'culling presets'. [default: demo without --video, else default]",
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file laid over the preset.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    nargs=2,
    metavar="KEY VALUE",
    help="One setting, e.g. --set train_student.recipe.epochs 40.",
)
@click.option(
    "--student", default="", shell_complete=detector_names, help="Detector that learns; see 'culling detectors'."
)
@click.option("--student-weights", default="", help="File, torchvision name, model directory or s3:// URI.")
@click.option(
    "--teacher",
    default="",
    shell_complete=detector_names,
    help="Detector that is believed, or a .yaml describing an exported network.",
)
@click.option("--teacher-weights", default="", help="File, torchvision name, model directory or s3:// URI.")
@click.option("--target", type=click.IntRange(1), help="Frames to keep for training (the paper's n).")
@click.option("--pool", type=click.IntRange(1), help="Frames that the confidence cull passes to the teacher.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames per second taken from the video.")
@click.option("--camera", default="", help="The camera's name in the registry.")
@click.option("--registry", default="", help="Folder or s3:// prefix of the model registry. [default: OUT/registry]")
@click.option("--day", default="", help="YYYY-MM-DD that {day} in the video's name stands for. [default: yesterday]")
@click.option("--truth", default="", help="COCO json with the true boxes of the footage, where they are known.")
@click.option("--publish", default="", help="Folder or s3:// prefix that report, summary and model are copied to.")
@click.option("--device", default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--engine",
    type=click.Choice(["local", "docker"]),
    default="local",
    show_default=True,
    help="What runs the stages: processes, or the compiled pipeline in containers of this machine.",
)
@click.option("--image", default="", help="With --engine docker: image of the stages. [default: this version's own]")
@click.option("--fresh", is_flag=True, help="Forget what is finished in OUT and start over.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the tables.")
def run(
    videos: tuple[str, ...],
    more_videos: tuple[str, ...],
    classes: tuple[str, ...],
    out: Path,
    preset: str,
    config_file: Path | None,
    changes: tuple[tuple[str, str], ...],
    student: str,
    student_weights: str,
    teacher: str,
    teacher_weights: str,
    target: int | None,
    pool: int | None,
    fps: float | None,
    camera: str,
    registry: str,
    day: str,
    truth: str,
    publish: str,
    device: str,
    engine: str,
    image: str,
    fresh: bool,
    as_json: bool,
) -> None:
    """Specialise a student for one camera: video in, trained model and report out.

    Run it again with the same --out to continue a run that was interrupted.

    \b
    culling run --out runs/demo
    culling run --video day1.mp4 day2.mp4 --classes person,car --out runs/entrance
    culling run --video 'recordings/{day}/*.mp4' --day 2026-11-20 --out runs/2026-11-20
    culling run --video segments/ --classes vehicle=car+truck+bus --student yolox_nano
        --student-weights yolox_nano.onnx --teacher teacher.yaml
    culling run --engine docker --out runs/demo     the same, in containers
    """
    from dataset_culling.engine.job import run_job

    over: dict[str, Any] = {}

    def put(key: str, value: Any) -> None:
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        over.update(merge(over, nested))

    sources = (*videos, *more_videos)
    if sources:
        put("extract_frames.sources", list(sources))
    if classes:
        put("classes", list(_split(classes)))
    for key, value in {
        "student.name": student,
        "student.weights": student_weights,
        "teacher.name": teacher,
        "teacher.weights": teacher_weights,
        "camera": camera,
        "registry": registry,
        "truth": truth,
        "cull_precision.budget": target,
        "cull_confidence.budget": pool,
        "extract_frames.frames_per_second": fps,
    }.items():
        if value:
            put(key, value)
    run_job(
        preset=preset or ("default" if sources else "demo"),
        config_file=config_file,
        over=over,
        changes=changes,
        day=day,
        out=out,
        publish_to=publish,
        device=device,
        fresh=fresh,
        as_json=as_json,
        quiet=verbosity() == QUIET,
        verbose=verbosity() == VERBOSE,
        engine=engine,
        image=image,
    )


@cli.group(cls=Group)
def stage() -> None:
    """Run one stage by hand: the very command that a pod of the pipeline runs.

    \b
    culling stage cull-confidence --config '{"budget": 64}' --detections DIR --selection DIR
    """


def _stage_command(spec: StageSpec) -> click.Command:
    def callback(**values: Any) -> None:
        from dataset_culling.engine.stage_main import write_kfp_metadata

        paths = {name: Path(values[name]) for name in values if name in all_paths and values[name]}
        config = stage_config(spec, values["config"], values["changes"])
        report = run_stage(
            spec,
            config,
            {name: path for name, path in paths.items() if name not in spec.writes},
            {name: path for name, path in paths.items() if name in spec.writes},
            task=values["task"],
            device=values["device"],
        )
        write_kfp_metadata(values["executor_input"], spec, {name: paths[name] for name in spec.writes})
        for name, count in report.counts.items():
            click.echo(f"{name}: {count:,}")
        for note in report.notes:
            click.echo(note)

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
        what = "written" if name in spec.writes else "read"
        optional = " Optional." if name in spec.optional_reads else ""
        options.append(
            click.Option(
                [f"--{name.replace('_', '-')}", name],
                required=name not in spec.optional_reads,
                metavar="DIR",
                help=f"Directory of the {schema} artifact that is {what}.{optional}",
            )
        )
    summary = (spec.config.__doc__ or "").strip().splitlines()[0]
    needed = [name for name in all_paths if name not in spec.optional_reads]
    example = f"culling stage {spec.name} " + " ".join(f"--{name.replace('_', '-')} DIR" for name in needed)
    return Command(
        spec.name, params=options, callback=callback, help=f"{summary}\n\n\b\n{example}", context_settings=CONTEXT
    )


for _spec in STAGES.values():
    stage.add_command(_stage_command(_spec))


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--rows", default=10, show_default=True, help="How many rows of its content to print.")
@click.option("--verify", is_flag=True, help="Check every file's size and hash first.")
@click.option("--json", "as_json", is_flag=True, help="The header, for machines.")
def show(directory: Path, rows: int, verify: bool, as_json: bool) -> None:
    """Print an artifact's header and first rows.

    \b
    culling show runs/demo/tasks/cull-precision/kept
    culling show runs/demo/tasks/label-selection/labels --rows 3 --verify
    """
    from dataset_culling.cli.show import header_values, show_artifact

    if as_json:
        click.echo(json.dumps(header_values(directory, check=verify), indent=1, sort_keys=True))
        return
    show_artifact(directory, rows=rows, check=verify)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def detectors(as_json: bool) -> None:
    """List the detectors: size, cost of an image, and whether their weights are at hand.

    \b
    culling detectors
    culling detectors --json
    """
    from dataset_culling.detectors.table import DETECTORS, weights_at_hand

    if as_json:
        rows = {
            name: {
                "trainable": spec.trainable,
                "weights": spec.default_weights,
                "weights_at_hand": weights_at_hand(name),
                "million_parameters": spec.million_parameters,
                "gflops_320": spec.gflops_320,
            }
            for name, spec in DETECTORS.items()
        }
        click.echo(json.dumps(rows))
        return
    width = max(len(name) for name in DETECTORS)
    click.echo(f"{'detector':{width}}  {'M param.':>8}  {'GFLOPs*':>8}  {'weights':<22}  what it is")
    for name, spec in DETECTORS.items():
        default = spec.default_weights or "give a file"
        here = (
            default if default == "embedded" else f"{default}{', at hand' if weights_at_hand(name) else ', not here'}"
        )
        size = f"{spec.million_parameters:8.2f}  {spec.gflops_320:8.2f}"
        click.echo(f"{name:{width}}  {size}  {here:<22}  {spec.summary}")
    click.echo("* of one 16:9 image with a short side of 320 px, two per multiply-add")


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--overfit", is_flag=True, help="Let students learn eight drawn frames by heart instead: all, or NAMEs.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--store", default="", help="s3://bucket/prefix to try. [default: CULLING_SCRATCH_URI]")
@click.option("--kfp", default="", help="URL of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]")
@click.option("--device", default="auto", show_default=True, help="For --overfit: auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def doctor(names: tuple[str, ...], overfit: bool, out: Path, store: str, kfp: str, device: str, as_json: bool) -> None:
    """Check that all is here that a run needs, and say what to do where it is not; exits with 3 then.

    \b
    culling doctor --store s3://bucket/prefix
    culling doctor --overfit yolox_nano tiny      mAP@50 above 0.95 on eight frames, or something is broken
    """
    from dataset_culling.engine.doctor import doctor as check_all
    from dataset_culling.engine.doctor import overfit_all

    if overfit:
        overfit_all(names, device=choose_device(device), as_json=as_json)
    elif names:
        raise ConfigError(f"doctor {names[0]}: expected --overfit before the names of students, found none. Add it.")
    else:
        check_all(out=out, store=store, kfp=kfp, as_json=as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines, with all that each sets.")
def presets(as_json: bool) -> None:
    """List the presets and what they are for.

    \b
    culling presets
    culling presets --json
    """
    from dataset_culling.pipeline.presets import describe_presets, read_preset

    summaries = describe_presets()
    if as_json:
        rows = {name: {"summary": summary, "settings": read_preset(name)} for name, summary in summaries.items()}
        click.echo(json.dumps(rows, indent=1, sort_keys=True))
        return
    for name, summary in summaries.items():
        click.echo(f"{name:10}  {summary}")


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--scene", default="demo", show_default=True, shell_complete=scene_names, help="Named scene, or random:SEED."
)
@click.option(
    "--duration", "duration_s", default=600.0, show_default=True, type=click.FloatRange(1), help="Seconds of video."
)
@click.option("--fps", default=2.0, show_default=True, type=click.FloatRange(0.1, 60), help="Frames per second.")
@click.option("--seed", type=click.IntRange(0), help="Another seed of the same scene.")
@click.option(
    "--day-length",
    "day_length_s",
    type=click.FloatRange(1),
    help="Seconds in which a day passes. [default: the scene's]",
)
@click.option(
    "--truth", type=click.Path(path_type=Path), help="Where the true boxes go. [default: PATH with .truth.json]"
)
def simulate(
    path: Path,
    scene: str,
    duration_s: float,
    fps: float,
    seed: int | None,
    day_length_s: float | None,
    truth: Path | None,
) -> None:
    """Film a simulated fixed camera: an ordinary video and, beside it, the true boxes as COCO json.

    \b
    culling simulate street.mp4 --duration 60
    culling simulate night.mp4 --scene street-night-rain --duration 600 --fps 2 --seed 3
    """
    from dataset_culling.engine.simulate import simulate_video

    simulate_video(path, scene=scene, duration_s=duration_s, fps=fps, seed=seed, day_length_s=day_length_s, truth=truth)


@cli.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option("--paper", is_flag=True, help="The paper's constants instead of a run's: its Table 1.")
@click.option("--budget-minutes", type=click.FloatRange(0, min_open=True), help="Pick target and pool for this much.")
@click.option("--targets", default="64,128,256", show_default=True, help="Target sizes to cost.")
@click.option("--frames", type=click.IntRange(1), help="Frames in the footage. [default: the run's]")
@click.option("--pool", type=click.IntRange(1), help="Frames labelled, whatever the target is.")
@click.option("--pool-factor", type=click.FloatRange(1), help="Frames labelled for each one kept. [default: the run's]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the kept frames. [default: the run's]")
@click.option("--student-s", type=float, help="Seconds for the student to score a frame.")
@click.option("--teacher-s", type=float, help="Seconds for the teacher to label a frame.")
@click.option("--step-s", type=float, help="Seconds to train on a frame once.")
@click.option(
    "--variants", type=click.IntRange(1), help="Versions of a frame in an epoch: 2 where flips double the set."
)
@click.option("--json", "as_json", is_flag=True, help="For machines, in seconds.")
def plan(
    run_folder: Path | None, paper: bool, budget_minutes: float | None, targets: str, as_json: bool, **given: Any
) -> None:
    """What a camera costs at several target sizes, and what a budget buys: the cost model of the paper's Table 1.

    RUN is the folder of a finished run, whose measured seconds are used; any of them can be given instead.

    \b
    culling plan runs/demo
    culling plan runs/demo --frames 86400 --budget-minutes 30
    culling plan --paper
    """
    from dataset_culling.cli.plan import print_plan

    try:
        sizes = [int(part) for part in targets.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise ConfigError(f"--targets {targets}: expected numbers of frames such as 64,128,256.")
    print_plan(run_folder, paper=paper, given=given, targets=sizes, budget_minutes=budget_minutes, as_json=as_json)


@cli.command("compile")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--profile", default="gpu", show_default=True, shell_complete=profile_names, help="gpu, cpu or kind.")
@click.option("--image", default="", help="Image of the stages, by immutable tag or digest.")
def compile_command(path: Path, profile: str, image: str) -> None:
    """Write the pipeline for Kubeflow as YAML.

    \b
    culling compile pipeline.yaml --profile gpu --image REGISTRY/dataset-culling@sha256:DIGEST
    culling compile pipeline.yaml --profile kind
    """
    from dataset_culling.kubeflow.pipeline import compile_pipeline

    compile_pipeline(path, profile, image)
    click.echo(f"{path}")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines: all settings that the file leads to.")
def check(file: Path, as_json: bool) -> None:
    """Check a configuration file for culling run --config.

    \b
    culling check camera.yaml
    culling check camera.yaml --json
    """
    config = parse_config(PipelineConfig, read_yaml(file), where=str(file))
    if as_json:
        click.echo(
            json.dumps({"file": str(file), "settings": config.model_dump(mode="json")}, indent=1, sort_keys=True)
        )
        return
    click.echo(f"{file}: fine")


def _moved_command(name: str) -> click.Command:
    """Make the hidden command that says where an experiment went; it goes with the next release."""

    def callback(words: tuple[str, ...]) -> None:
        module = name.replace("-", "_")
        raise ConfigError(
            f"culling {name} is an experiment of the repository now. In a checkout run: "
            f"python -m experiments.{module} {' '.join(words)}".rstrip()
        )

    return click.Command(
        name,
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
        callback=callback,
        hidden=True,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )


cli.add_command(completion)
cli.add_command(models)
cli.add_command(predict)
cli.add_command(propose_command)
cli.add_command(compare_command)
cli.add_command(students)
fleet.add_command(fleet_report_command, "report")
cli.add_command(fleet)
cli.add_command(submit)
cli.add_command(footage)
for _name in ("reproduce", "embeddings", "lr-range"):
    cli.add_command(_moved_command(_name))


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise KeyboardInterrupt(signum)


def main() -> NoReturn:
    """Entry point: run the command, turn errors into one line and an exit code."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # A stage's log, here or a pod's, is read when something is wrong: nothing is kept out of it.
    set_up_logging(NORMAL, show_warnings=sys.argv[1:2] == ["stage"])
    sys.exit(exit_code_of(lambda: cli.main(prog_name="culling", standalone_mode=False)))


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do the work; print what went wrong in one line; return the exit code. Bugs keep their traceback.

    With --verbose, errors of the user's making show where they came from, too.
    """
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except CullingError as error:
        return _say(str(error), error.exit_code)
    except click.UsageError as error:
        where = f"{error.ctx.command_path}: " if error.ctx else ""
        hint = f" See: {error.ctx.command_path} --help" if error.ctx else ""
        return _say(f"{where}{' '.join(error.format_message().split())}{hint}", ConfigError.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), ConfigError.exit_code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _say(
            f"this needs {error.name}, which is not installed. Run: pip install 'dataset-culling[{extra}]'",
            ConfigError.exit_code,
        )
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped; the same command continues where it was", err=True)
        return 130


def _say(message: str, code: int) -> int:
    if logging.getLogger("dataset_culling").isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    click.echo(f"error: {message}", err=True)
    return code


if __name__ == "__main__":
    main()
