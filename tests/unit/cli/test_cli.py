"""The command line as a user meets it: help, typos, mistakes, exit codes, completion, plain output."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from rich.console import Console

from conftest import REPOSITORY
from dataset_culling.artifacts.timing import Timing
from dataset_culling.cli.program import cli, exit_code_of
from dataset_culling.errors import EXIT_CODES, CullingError
from dataset_culling.pipeline.graph import WIRING
from dataset_culling.pipeline.presets import preset_names
from dataset_culling.report.progress import PlainDisplay, make_display
from dataset_culling.report.terminal import print_summary


def leaves(group: click.Group, path: tuple[str, ...] = ("culling",)) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


COMMANDS = dict(leaves(cli))


def typed(*arguments: object) -> int:
    """What the process would exit with; its output goes where pytest sees it."""
    return exit_code_of(lambda: cli.main(list(map(str, arguments)), prog_name="culling", standalone_mode=False))


def test_help__every_command_shows_examples_of_itself():
    assert len(COMMANDS) > 25
    for path, command in COMMANDS.items():
        context = click.Context(command, info_name=" ".join(path))
        examples = [line.strip() for line in command.get_help(context).splitlines()]
        asked = " ".join(path)
        assert any(f"{line} ".removeprefix('eval "$(').startswith(f"{asked} ") for line in examples), asked


@pytest.mark.parametrize("name", ["reproduce", "embeddings", "lr-range"])
def test_moved_commands__say_what_to_run_now(name: str, capsys: pytest.CaptureFixture[str]):
    assert typed(name, "runs/demo", "--help") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"python -m experiments.{name.replace('-', '_')} runs/demo --help" in said


def test_help__every_command_can_be_told_to_say_more_or_less():
    for path, command in COMMANDS.items():
        names = {name for parameter in command.params for name in parameter.opts}
        assert {"-v", "-q", "--verbose", "--quiet"} <= names, " ".join(path)


@pytest.mark.parametrize(
    "path",
    ["detectors", "presets", "plan", "check", "doctor", "compare", "fleet report", "show", "run", "models list",
     "models show", "models compare", "models export", "predict", "propose"],
)  # fmt: skip
def test_help__what_prints_results_prints_them_for_machines_too(path: str):
    names = {name for parameter in COMMANDS["culling", *path.split()].params for name in parameter.opts}
    assert "--json" in names


def test_json__is_json(tmp_path: Path):
    (tmp_path / "camera.yaml").write_text("camera: gate\ncull_precision: {budget: 32}\n")
    runner = CliRunner()
    presets = json.loads(runner.invoke(cli, ["presets", "--json"]).output)
    assert set(presets) == set(preset_names())
    assert presets["tiny"]["settings"]["cull_precision"] == {"budget": 8}
    checked = json.loads(runner.invoke(cli, ["check", str(tmp_path / "camera.yaml"), "--json"]).output)
    assert checked["settings"]["cull_precision"]["budget"] == 32


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["stag"], 2, "Did you mean 'stage'?"),
        (["models", "rolback"], 2, "Did you mean 'rollback'?"),
        (["stage", "cull-precisoin"], 2, "Did you mean 'cull-precision'?"),
        (["run", "--clases", "car"], 2, "--classes"),
        (["presets", "--jsno"], 2, "--json"),
        (["run", "--preset", "dmeo"], 2, "Did you mean 'demo'?"),
        (["run", "--student", "tinny"], 2, "Did you mean 'tiny'?"),
        (["run", "--target", "many"], 2, "many"),
        (["run", "--set", "cull_precision.bugdet", "3"], 2, "Did you mean 'budget'?"),
        (["run", "--engine", "docker"], 2, "docker run -v FOLDER:FOLDER IMAGE culling run"),
        (["run", "--engine", "podman"], 2, "the only engine is local"),
        (["run", "--image", "x:1"], 2, "was removed with --engine docker"),
        (["run", "--set", "camera", "[", "--out", "/nowhere"], 2, "expected a YAML value"),
        (["simulate", "x.mp4", "--scene", "lobbi"], 2, "Did you mean 'lobby'?"),
        (["completion", "tcsh"], 2, "'tcsh' is not one of"),
        (["check", "nowhere.yaml"], 2, "nowhere.yaml: expected a YAML file"),
        (["check", "."], 2, "expected a YAML file"),
        (["show", "nowhere"], 3, "expected an artifact"),
        (["compare", "nowhere", "elsewhere"], 3, "no such file. Name the folder of a finished run"),
        (["plan", "nowhere"], 3, "found no such file"),
        (["fleet", "report", "nowhere", "--out", "x.html"], 3, "no such folder. Name a folder with runs"),
        (["models", "--registry", "nowhere", "show", "demo"], 2, "expected one with models"),
        (["models", "show", "DEMO"], 2, "has lower-case letters, digits and hyphens only"),
        (["models", "export", "--to", "b"], 2, "expected either CAMERA or --model"),
        (["models", "export", "demo", "--to", "b"], 2, "expected one with models"),
        (["models", "export", "--model", "nowhere", "--to", "b"], 3, "expected an artifact"),
        (["models", "export", "--model", "m", "--to", "b", "--frame-size", "720p"], 2, "expected WIDTHxHEIGHT"),
        (["propose", "nowhere", "--to", "p"], 3, "expected the folder of a finished run"),
        (["predict", "model"], 2, "found only one name"),
        (["predict", "model", "x.mp4"], 3, "x.mp4: expected a video file"),
        (["predict", "model", "x.mp4", "--version", "2"], 2, "expected --camera beside it"),
        (["predict", "model", "x.mp4", "--format", "yaml"], 2, "expected jsonl, coco"),
        (["predict", "model", "x.mp4", "--threshold", "2"], 2, "--threshold"),
    ],
)
def test_mistakes__are_one_line_and_a_code(
    arguments: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert typed(*arguments) == code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert said.err.count(says) == 1
    assert list(tmp_path.iterdir()) == []


def test_run__former_names_of_options_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("dataset_culling.engine.job.run_job", lambda **values: asked.append(values["options"]))
    for words in (["--shortlist", "20"], ["--pool", "20"], ["--pool", "20", "--engine", "local"]):
        assert CliRunner().invoke(cli, ["run", *words]).exit_code == 0
    assert asked == [{"cull_confidence.budget": 20}] * 3
    assert "--pool" not in CliRunner().invoke(cli, ["run", "--help"]).output
    assert "--engine" not in CliRunner().invoke(cli, ["run", "--help"]).output


def test_mistakes__a_missing_extra_is_named(capfd: pytest.CaptureFixture[str]):
    def without_kfp() -> None:
        raise ModuleNotFoundError("No module named 'kfp.dsl'", name="kfp.dsl")

    assert exit_code_of(without_kfp) == 2
    assert "pip install 'dataset-culling[kubeflow]'" in capfd.readouterr().err

    def our_own_bug() -> None:
        raise ModuleNotFoundError("No module named 'dataset_culling.no'", name="dataset_culling.no")

    with pytest.raises(ModuleNotFoundError):
        exit_code_of(our_own_bug)


def test_exit_codes__every_error_and_every_table_agree():
    def below(kind: type[CullingError]) -> Iterator[type[CullingError]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    assert {kind.exit_code for kind in below(CullingError)} <= set(EXIT_CODES)
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert all(re.search(rf"^ +{code}  {re.escape(meaning)}$", shown, re.M) for code, meaning in EXIT_CODES.items())
    for page in ("docs/command-line.md",):
        rows = re.findall(r"^\| (\d+) \| (.+) \|$", (REPOSITORY / page).read_text(encoding="utf-8"), re.M)
        assert {int(code): meaning for code, meaning in rows} == dict(EXIT_CODES), page


@pytest.fixture
def shim(tmp_path: Path) -> dict[str, str]:
    """An environment in which `culling` is this checkout's."""
    program = tmp_path / "bin" / "culling"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dataset_culling "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_completion__in_a_real_bash(shim: dict[str, str]):
    script = """
    eval "$(culling completion bash)"
    COMP_WORDS=(culling run --preset t); COMP_CWORD=3
    _culling_completion culling
    echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script], env=shim, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["tiny"], done.stderr


def test_completion__cameras_of_a_local_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for camera in ("gate", "garage", "lobby"):
        (tmp_path / "registry" / "cameras" / camera).mkdir(parents=True)
    monkeypatch.setenv("CULLING_REGISTRY", "s3://elsewhere/registry")

    def offered(*words: str) -> list[str]:
        *before, begun = words
        return [item.value for item in ShellComplete(cli, {}, "culling", "_X").get_completions(list(before), begun)]

    assert offered("models", "--registry", str(tmp_path / "registry"), "show", "ga") == ["garage", "gate"]
    assert offered("predict", "--registry", str(tmp_path / "registry"), "--camera", "l") == ["lobby"]
    assert offered("models", "show", "ga") == []  # the tab key waits for no network


def test_output__a_reader_that_has_gone_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "dataset_culling", "presets"],
            stdout=gone, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_display__plain_lines_without_a_terminal(capfd: pytest.CaptureFixture[str]):
    task = WIRING[0]
    timing = Timing(task.stage, task.name, 1.5, 10.0, "cpu", {"frames": 1200}, {}, ("two files overlap",))
    for verbose in (False, True):
        with make_display(quiet=False, verbose=verbose) as display:
            assert isinstance(display, PlainDisplay)
            display.begin(1, 11, task.display_name)
            display.progress(60, 60)
            display.end(timing, skipped=False)
        lines = capfd.readouterr().err.splitlines()
        assert lines[0].startswith(f" 1/11 {task.display_name}")
        assert lines[0].endswith("60/60 1.5 s")
        expected = ["frames 1,200", "two files overlap"] if verbose else []
        assert [line.strip() for line in lines[1:]] == expected


def test_print_summary__no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    summary = {"camera": "gate", "frames_pool": 10, "promoted": True, "promotion_reason": "Promoted: better."}
    colours = re.compile(r"\x1b\[(\d+;)*(3|4|9|10)\d")

    def printed() -> str:
        out = io.StringIO()
        print_summary(summary, tmp_path, Console(file=out, force_terminal=True, highlight=False))
        return out.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours.search(printed())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours.search(printed())
