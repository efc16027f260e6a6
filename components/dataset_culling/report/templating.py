"""Rendering of page templates with one style sheet, palette, script and set of filters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dataset_culling.report import words
from dataset_culling.report.charts.svg import PALETTE

MAX_PAGE_BYTES = 1_950_000
"""Limit of a page: below the 2 MB that the viewer of Kubeflow Pipelines accepts."""
_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS = ("points", "signed_points", "duration", "times", "count", "mib", "counted")


def render_page(template: str, **values: Any) -> str:
    """Render a template as a document that loads nothing; equal values give equal text.

    Args:
        template: File name of the template.
        values: Variables of the template; a missing one is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update({name: getattr(words, name) for name in _FILTERS})
    html = environment.get_template(template).render(
        style=Markup(_style()),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
        svg=Markup,
        **values,
    )
    return re.sub(r"\n\s*\n+", "\n", html)


def _style() -> str:
    """Return the style sheet with the palette for light, for dark, and for readers who switch the theme."""
    light, dark = ("".join(f"--{role}:{both[theme]};" for role, both in PALETTE.items()) for theme in (0, 1))
    sheet = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=light]{{color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n{sheet}"
    )
