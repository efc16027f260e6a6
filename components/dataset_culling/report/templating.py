"""The pages' common ground: one style sheet and palette, one script, one set of filters for their templates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dataset_culling.report import words
from dataset_culling.report.charts.svg import PALETTE

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """A template as a whole document that loads nothing from anywhere; equal values give equal text.

    Args:
        template: Its file name.
        values: What it asks for; a value that it asks for and is not given is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        points=words.points,
        signed_points=words.signed_points,
        duration=words.duration,
        times=words.times,
        count=words.count,
        mib=words.mib,
        counted=words.counted,
    )
    html = environment.get_template(template).render(
        style=Markup(_style()),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
        svg=Markup,
        **values,
    )
    return re.sub(r"\n\s*\n+", "\n", html)


def _style() -> str:
    """The style sheet, with the palette for light, for dark, and for whoever overrides the system's choice."""

    def variables(theme: int) -> str:
        return "".join(f"--{role}:{both[theme]};" for role, both in PALETTE.items())

    sheet = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return (
        f":root{{color-scheme:light;{variables(0)}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{color-scheme:dark;{variables(1)}}}}}\n"
        f":root[data-theme=light]{{color-scheme:light;{variables(0)}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{variables(1)}}}\n{sheet}"
    )
