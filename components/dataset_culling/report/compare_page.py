"""The page of `culling compare`: several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from dataset_culling.report.charts.by_run import accuracy_by_run, ap_by_class, cost_by_run
from dataset_culling.report.charts.svg import Table
from dataset_culling.report.compare_runs import ComparedRun, caveats, differing_settings, headline, num_same_settings
from dataset_culling.report.templating import MAX_PAGE_BYTES, render_page


def build_comparison_page(runs: Sequence[ComparedRun], *, max_bytes: int = MAX_PAGE_BYTES) -> str:
    """Build the page as HTML; equal runs give equal text.

    Args:
        runs: At least one, in the order in which they are shown.
        max_bytes: Most bytes of the page in UTF-8.

    Raises:
        ValueError: If the page is larger than that, with hundreds of runs.
    """
    accuracy = (accuracy_by_run(runs), ap_by_class(runs), ap_by_class(runs, "_truth"))
    cost = cost_by_run(runs)
    settings = tuple((key, *values) for key, values in differing_settings(runs))
    page = render_page(
        "compare.html.j2",
        runs=runs,
        groups=headline(runs),
        notes=caveats(runs),
        accuracy=[chart for chart in accuracy if chart is not None],
        cost=[cost] if cost is not None else [],
        settings=Table("Settings that differ", ("Key", *(run.name for run in runs)), settings) if settings else None,
        num_same=num_same_settings(runs),
    )
    if (size := len(page.encode())) > max_bytes:
        raise ValueError(f"the page of {len(runs)} runs needs {size} bytes, more than {max_bytes}")
    return page
