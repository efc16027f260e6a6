"""A page as a parser sees it: what a browser would complain about, and what a screen reader is told."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Outline(HTMLParser):
    """Tags that close another than was opened, ids, places that links lead to, texts by tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.loaded: list[str] = []  # what a browser would fetch by itself
        self.links: list[str] = []
        self.named_by: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.headings: list[str] = []
        self.feed(html)
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._look(tag, {name: value or "" for name, value in attrs})

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def _look(self, tag: str, attrs: dict[str, str]) -> None:
        self.tags.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.named_by += attrs.get("aria-labelledby", "").split()
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(tag)
        if tag == "a":
            self.links.append(attrs.get("href", ""))
            return
        for name in ("href", "src", "xlink:href", "srcset"):
            if name in attrs and not attrs[name].startswith(("#", "data:")):
                self.loaded.append(attrs[name])


def assert_sound(html: str, *, most_bytes: int = 2_000_000) -> Outline:
    """Well-formed, self-contained, small, and with what a keyboard and a screen reader need; the outline, to go on."""
    outline = Outline(html)
    assert outline.wrong == []
    assert outline.loaded == []
    assert "@import" not in html
    assert not re.findall(r"url\((?!#|&quot;#)", html)
    assert "#0101" not in html  # a stand-in colour
    assert len(html.encode()) < most_bytes
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.named_by) <= set(outline.ids)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    tags = [tag for tag, _ in outline.tags]
    assert [tags.count(tag) for tag in ("h1", "main", "nav", "header", "footer")] == [1, 1, 1, 1, 1]
    levels = [int(tag[1]) for tag in outline.headings]
    assert all(later - sooner <= 1 for sooner, later in itertools.pairwise(levels))
    assert tags.count("caption") == tags.count("table")
    for tag, attrs in outline.tags:
        if attrs.get("role") == "img" or tag == "img":
            assert attrs.get("aria-label") or attrs.get("alt")
        if "tablewrap" in attrs.get("class", ""):
            assert attrs["tabindex"] == "0"
            assert attrs["aria-label"]
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or attrs.get("role") == "img"
        if tag == "th":
            assert attrs.get("scope")
    return outline
