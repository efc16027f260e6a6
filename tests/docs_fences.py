"""The fenced blocks of our Markdown files, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import REPOSITORY

PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
NEEDS = ("cluster", "docker", "weights", "setup", "finished-run", "shell")
"""What a block may need that a test does not have."""
MARKS = ("runnable", "slow", *NEEDS)

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)\s*$", re.M | re.S)


@dataclass(frozen=True)
class Fence:
    """One fenced block."""

    page: Path
    line: int
    language: str
    mark: str  # the second word of its info string
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """The page's fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, _, mark = found["info"].strip().partition(" ")
        yield Fence(page, text.count("\n", 0, found.start()) + 1, language, mark.strip(), found["text"])


def commands(fence: Fence) -> list[list[str]]:
    """A block's commands, split as a shell does it; comments are left out, '\\' at a line's end goes on."""
    lines = re.sub(r"\\\n\s*", " ", fence.text).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def program_of(words: list[str]) -> tuple[str, list[str]]:
    """Return a command's program and its arguments; `python -m MODULE` is the program MODULE."""
    if Path(words[0]).name == "python" and words[1:2] == ["-m"]:
        return words[2], words[3:]
    return Path(words[0]).name, words[1:]
