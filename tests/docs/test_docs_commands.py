"""The documentation's commands: run where a test can, checked against the options that exist where it cannot.

A block in a shell's language must say how it is tested by the word after `sh`; see docs/README.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import REPOSITORY
from dataset_culling.cli.program import cli, exit_code_of
from docs_fences import MARKS, PAGES, Fence, commands, fences, program_of
from experiments.embeddings.__main__ import embeddings
from experiments.lr_range.__main__ import lr_range
from experiments.reproduce.__main__ import reproduce

PROGRAMS: dict[str, click.Command] = {
    "culling": cli,
    "experiments.reproduce": reproduce,
    "experiments.embeddings": embeddings,
    "experiments.lr_range": lr_range,
}
SHELLS = ("sh", "bash", "shell", "console", "zsh")
LINKED = (*PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "manifests" / "README.md")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages_with(mark: str) -> list[Path]:
    return [page for page in PAGES if any(fence.mark == mark for fence in fences(page))]


def named(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def slow_pages() -> list[Any]:
    """The pages whose commands take minutes; the default run takes the README's alone."""
    readme = REPOSITORY / "README.md"
    pages = [readme, *(page for page in pages_with("slow") if page != readme)]
    return [pytest.param(page, marks=() if page == readme else pytest.mark.slow) for page in pages]


def typed(fence: Fence, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run one command of ours in this process; what it printed."""
    program, arguments = program_of(words)
    assert program in PROGRAMS, f"{fence}: only {', '.join(PROGRAMS)} can be run by a test, found {program}"
    code = exit_code_of(lambda: PROGRAMS[program].main(arguments, prog_name=program, standalone_mode=False))
    said = capsys.readouterr()
    assert code == 0, f"{fence}: {' '.join(words)}: {said.err}"
    return said.out


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_docs__every_shell_block_says_how_it_is_tested(page: Path):
    unmarked = [str(one) for one in fences(page) if one.language in SHELLS and one.mark not in MARKS]
    assert unmarked == [], f"add one of {', '.join(MARKS)} after ```sh"


def test_docs__every_tutorial_has_something_to_run():
    assert len(PAGES) >= 8
    idle = [named(page) for page in PAGES if page.parent.name == "tutorials" and not runs(page)]
    assert idle == []


def runs(page: Path) -> bool:
    return any(fence.mark == "runnable" for fence in fences(page))


@pytest.mark.parametrize("page", pages_with("runnable"), ids=named)
def test_docs__runnable_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    printed, names = "", {"__name__": "tutorial"}
    for fence in fences(page):
        if fence.mark.startswith("file="):
            Path(fence.mark.removeprefix("file=")).write_text(fence.text, encoding="utf-8")
        elif fence.language == "python" and fence.mark == "runnable":
            # The annotations of a block that is executed need a module to be looked up in.
            exec(compile(fence.text, str(fence), "exec", dont_inherit=True), names)
        elif fence.mark == "runnable":
            printed = "".join(typed(fence, words, capsys) for words in commands(fence))
        elif fence.language == "text" and fence.mark == "output":
            assert printed == fence.text, str(fence)


@pytest.mark.parametrize("page", slow_pages(), ids=named)
def test_docs__slow_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    for fence in fences(page):
        if fence.mark.startswith("file="):
            Path(fence.mark.removeprefix("file=")).write_text(fence.text, encoding="utf-8")
        elif fence.mark == "slow":
            for words in commands(fence):
                typed(fence, words, capsys)


@pytest.mark.filterwarnings("ignore:'protected_args'")
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_docs__commands_that_are_not_run_know_their_options(page: Path):
    for fence in fences(page):
        if fence.language not in SHELLS or fence.mark in ("runnable", "shell"):
            continue
        for words in commands(fence):
            program, arguments = program_of(words)
            if program in PROGRAMS:
                understood(fence, program, arguments)


def understood(fence: Fence, program: str, arguments: list[str]) -> None:
    """Let click read a command, to the last option, without running it."""
    command: click.Command | None = PROGRAMS[program]
    context, rest = None, list(arguments)
    try:
        while command is not None:
            context = command.make_context(command.name, rest, parent=context)
            if not isinstance(command, click.Group):
                return
            _, command, rest = command.resolve_command(context, [*context.protected_args, *context.args])
    except click.UsageError as error:
        pytest.fail(f"{fence}: {program} {' '.join(arguments)}: {error.format_message()}")


@pytest.mark.filterwarnings("ignore:'protected_args'")
@pytest.mark.parametrize(
    "line",
    [
        "culling run --vide x",
        "culling modles list",
        "culling models show",
        "culling run --target many",
        "python -m experiments.reproduce --presets smoke",
    ],
)
def test_understood__refuses_what_click_would(line: str):
    (words,) = commands(fence := Fence(REPOSITORY / "README.md", 1, "sh", "weights", line))
    with pytest.raises(pytest.fail.Exception):
        understood(fence, *program_of(words))


def test_fences__marks_comments_and_lines_that_go_on(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n```sh slow\nculling run \\\n    --out 'a b'   # why\n\n# only a comment\nls\n```\n```\nx\n```\n"
    )
    first, second = fences(page)
    assert (first.line, first.language, first.mark) == (2, "sh", "slow")
    assert commands(first) == [["culling", "run", "--out", "a b"], ["ls"]]
    assert (second.language, second.mark) == ("", "")
    assert program_of([".venv/bin/culling", "presets"]) == ("culling", ["presets"])
    assert program_of(["python", "-m", "experiments.reproduce", "--list"]) == ("experiments.reproduce", ["--list"])


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_docs__links_lead_somewhere(page: Path):
    broken = []
    for target in _LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The places in a page that GitHub lets links lead to."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_docs__every_page_is_listed():
    listed = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(REPOSITORY / "docs")) for page in (REPOSITORY / "docs").rglob("*.md")}
    assert pages - {"README.md"} == set(_LINK.findall(listed)) & pages
    front = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "(docs/README.md)" in front
