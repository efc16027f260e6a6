"""Check the project's prose against the patterns of the house style; print each finding as FILE:LINE and exit with 1.

    python scripts/check_prose.py [PATH ...]      default: the package, experiments, scripts, docs and top-level pages

A docstring or a help text must not open with a question word, and the words below have plainer equivalents. Code spans
and fenced blocks of Markdown are skipped. CHANGELOG.md is checked from its newest section only: older ones are history.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ("components", "experiments", "pipelines", "benchmarks", "scripts", "docker")
PAGES = ("*.md", "docs/**/*.md", "components/**/*.md", "manifests/**/*.md", "scripts/**/*.md", "tests/*.md")
UNCHECKED = {"DECISIONS.md": "", "docs/results": "measured pages keep the words of their run"}

QUESTION = re.compile(r"^(what|which|how|where|who|whom|whose|whether|when|why)\b", re.IGNORECASE)
WORDS = {
    r"\bby lot\b": "random",
    r"\bby heart\b": "overfit",
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\b(whoever|nobody|somebody|everybody)\b": "name the agent",
    r"\bis none\b": "is invalid, is missing",
    r"\bif (it|there) is no\b(?! longer)": "if ... is not, is missing",
    r"\blook(s|ed|ing)? at (frames|images|pictures|the frames|every frame|them)\b": "run the detector on",
    r"\b(is|are|was|be|been|can be|were) told\b": "report, log, pass",
    r"\bthe rest of the house\b": "the package",
    r"\bputs? up with\b": "accept, tolerate",
    r"\btells? (you|people|whoever)\b": "report, show",
    r"\bfound (none|nothing)\b": "say what is missing; 'expected X, found Y' needs two values",
    r"\bat one with\b": "agrees with",
    r"\bgone through\b": "read, processed",
    r"\bis held to be\b": "counts as",
    r"\bsurely\b|\ball the same\b": "say it plainly",
}
PATTERNS = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in WORDS.items()]


def findings(text: str, first_line: int, *, opens: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, complaint) for one piece of prose; `opens`: it is a docstring or a help text."""
    if opens and (found := QUESTION.match(text.strip())):
        yield first_line, f"opens with '{found.group()}': use an imperative verb or a noun phrase"
    plain = re.sub(r"`[^`\n]*`", lambda code: "x" * len(code.group()), text)
    for pattern, instead in PATTERNS:
        for found in pattern.finditer(plain):
            yield first_line + text.count("\n", 0, found.start()), f"'{found.group()}': {instead}"


def check_python(source: str) -> Iterator[tuple[int, str]]:
    """Check docstrings, attribute docstrings, texts of errors and options, and comments of a module."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    helps = {
        id(key.value) for node in ast.walk(tree) if isinstance(node, ast.Call)
        for key in node.keywords if key.arg in ("help", "description", "short_help")
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from findings(node.value, node.lineno, opens=id(node) in bare | helps)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from findings(token.string, token.start[0], opens=False)


def check_page(text: str) -> Iterator[tuple[int, str]]:
    """Check a Markdown page outside its fenced blocks."""
    blank = re.sub(r"^```.*?^```", lambda fence: "\n" * fence.group().count("\n"), text, flags=re.M | re.S)
    yield from findings(blank, 1, opens=False)


def newest_section(text: str) -> str:
    """Return a change log's head and newest section."""
    parts = re.split(r"(?m)^(?=## )", text)
    return "".join(parts[:2])


def is_unchecked(name: str) -> bool:
    """Tell whether a page is exempt."""
    return any(name == path or name.startswith(f"{path}/") for path in UNCHECKED)


def files(paths: list[str]) -> list[Path]:
    """List the files to check: those named, or all."""
    if paths:
        named = [Path(path).resolve() for path in paths]
        return [file for one in named for file in (one.rglob("*") if one.is_dir() else [one]) if file.is_file()]
    found = {file for top in PYTHON for file in (ROOT / top).rglob("*.py")}
    found |= {file for pattern in PAGES for file in ROOT.glob(pattern)}
    return sorted(found)


def main() -> int:
    """Check, print, and return the exit code."""
    total = 0
    for file in files(sys.argv[1:]):
        name = file.relative_to(ROOT).as_posix()
        if file == Path(__file__).resolve() or is_unchecked(name) or ".venv" in file.parts:
            continue
        if file.suffix == ".py":
            found = list(check_python(file.read_text(encoding="utf-8")))
        elif file.suffix == ".md":
            text = file.read_text(encoding="utf-8")
            found = list(check_page(newest_section(text) if file.name == "CHANGELOG.md" else text))
        else:
            continue
        for line, complaint in sorted(set(found)):
            print(f"{name}:{line}: {complaint}")
        total += len(set(found))
    print(f"prose: {total} findings" if total else "prose: nothing found")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
