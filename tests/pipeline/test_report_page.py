"""The report page in a real browser: Debian's chromium, driven by playwright.

Screenshots in both themes and two widths are left in build/screenshots, to be looked at.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from conftest import REPOSITORY
from dataset_culling.artifacts.report import page_file, read_summary
from dataset_culling.cli.program import cli
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.render_report.config import RenderReportConfig
from dataset_culling.stages.render_report.stage import run
from report_inputs import write_run

SCREENSHOTS = REPOSITORY / "build" / "screenshots"
NPM = REPOSITORY / "build" / "npm"
WIDTHS = {"wide": (1280, 900), "phone": (390, 844)}
MAX_PAGE_BYTES = 2_000_000  # what the UI of Kubeflow Pipelines asks of a page

# What the page's scripts see; collected before any of them runs.
COLLECT_ERRORS = """
window.problems = [];
addEventListener("error", (event) => window.problems.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => window.problems.push("policy: " + event.blockedURI));
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report/1, made by the stage from a small run."""
    folder = tmp_path_factory.mktemp("page")
    inputs = write_run(folder / "run", num_pool=60, num_heldout=20, num_labelled=30, num_kept=14)
    run(RenderReportConfig(camera="high-street"), inputs, {"report": folder / "report"}, StageContext("render-report"))
    return folder / "report"


@pytest.fixture(scope="module")
def page_path(report: Path) -> Path:
    return page_file(report)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def axe_script() -> str:
    """axe-core's source, from npm, kept under build/npm."""
    script = NPM / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed: apt-get install npm")
        NPM.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(NPM), "axe-core@4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if not script.is_file():
            pytest.skip(f"npm cannot install axe-core: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    return script.read_text(encoding="utf-8")


class Tab:
    """A page in the browser, with all that it asked for and all that went wrong."""

    def __init__(self, browser: Any, *, width: str = "wide", **options: Any) -> None:
        width_px, height_px = WIDTHS[width]
        self.page = browser.new_page(viewport={"width": width_px, "height": height_px}, **options)
        self.page.add_init_script(COLLECT_ERRORS)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        return self.page

    def check(self, *allowed: str) -> None:
        """No script error, nothing printed, nothing asked for but what is allowed."""
        outside = [url for url in self.requests if url not in allowed and not url.startswith("data:")]
        assert outside == []
        assert self.problems == []
        for frame in self.page.frames:
            assert frame.evaluate("window.problems ?? []") == []


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, and closes them after the test."""
    opened: list[Tab] = []

    def make(**options: Any) -> Tab:
        opened.append(Tab(browser, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.page.close()


def test_report__is_small_enough_and_agrees_with_its_summary(report: Path, page_path: Path):
    assert page_path.stat().st_size < MAX_PAGE_BYTES
    summary = read_summary(report)
    text = page_path.read_text(encoding="utf-8")
    assert f"{100 * summary['map_50_raw']:.1f} → {100 * summary['map_50_trained']:.1f} mAP@50" in text
    assert json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_page__looks_whole_in_both_themes_and_widths(tab: Callable[..., Tab], page_path: Path, theme: str, width: str):
    shown = tab(width=width, color_scheme=theme)
    page = shown.open(page_path)
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1], "the page is wider than the screen"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(","))
    assert (level < 200) == (theme == "dark")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"report-{width}-{theme}.png"), full_page=True)
    shown.check(page_path.as_uri())


def test_page__all_images_decode(tab: Callable[..., Tab], page_path: Path):
    page = tab().open(page_path)
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("svg image")].map(async (one) => {
            const image = new Image();
            image.src = one.getAttribute("href");
            await image.decode();
            return [image.naturalWidth, image.naturalHeight, one.width.baseVal.value, one.height.baseVal.value];
        }))"""
    )
    assert len(sizes) > 20
    assert all(size[:2] == size[2:] and min(size) > 0 for size in sizes)
    used = page.evaluate(
        """[...document.querySelectorAll("svg use")].filter((one) =>
            document.querySelector(one.getAttribute("href")) === null).length"""
    )
    assert used == 0


def test_page__theme_button_turns_the_theme_and_says_which_is_next(tab: Callable[..., Tab], page_path: Path):
    shown = tab(color_scheme="dark")
    page = shown.open(page_path)
    button = page.get_by_role("button", name="Light theme")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button.click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.get_by_role("button", name="Dark theme").is_visible()
    shown.check(page_path.as_uri())


def test_page__boxes_of_each_detector_can_be_hidden(tab: Callable[..., Tab], page_path: Path):
    page = tab().open(page_path)
    visible = """(who) => [...document.querySelectorAll(".shots g." + who + " > path")]
        .filter((one) => one.getClientRects().length).length"""
    assert page.evaluate(visible, "student") > 0
    page.get_by_role("checkbox", name="Student boxes").uncheck()
    assert page.evaluate(visible, "student") == 0
    assert page.evaluate(visible, "teacher") > 0
    page.get_by_role("checkbox", name="Teacher boxes").uncheck()
    assert page.evaluate(visible, "teacher") == 0


def test_page__pictures_are_enlarged_by_keyboard_alone(tab: Callable[..., Tab], page_path: Path):
    shown = tab()
    page = shown.open(page_path)
    first = page.locator(".zoom").first
    first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "Biggest gains" in dialog.inner_text()
    assert dialog.locator("svg").count() == 2
    assert dialog.locator(".names text").first.is_visible()
    title = page.locator("#lightbox-title").inner_text()
    page.screenshot(path=str(SCREENSHOTS / "report-enlarged.png"))
    page.keyboard.press("ArrowRight")
    assert page.locator("#lightbox-title").inner_text() != title
    page.keyboard.press("ArrowLeft")
    assert page.locator("#lightbox-title").inner_text() == title
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert first.evaluate("one => one === document.activeElement")
    shown.check(page_path.as_uri())


def test_page__the_first_tab_stop_skips_to_the_content(tab: Callable[..., Tab], page_path: Path):
    page = tab().open(page_path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_page__every_chart_and_picture_says_what_it_shows(tab: Callable[..., Tab], page_path: Path):
    page = tab().open(page_path)
    charts = page.evaluate(
        """[...document.querySelectorAll(".chart")].map((one) => [
            one.querySelector(".plot").getAttribute("aria-label"),
            one.querySelectorAll("table caption").length,
            one.querySelectorAll("tbody tr").length])"""
    )
    assert len(charts) == 7
    assert all(label and captions == 1 and rows > 0 for label, captions, rows in charts)
    labels = page.evaluate('[...document.querySelectorAll(".view svg")].map((one) => one.getAttribute("aria-label"))')
    assert labels
    assert all(len(label) > 20 for label in labels)
    assert page.evaluate('["header", "nav", "main", "footer"].every((one) => document.querySelector("body " + one))')


def test_page__stands_still_where_motion_is_unwanted(tab: Callable[..., Tab], page_path: Path):
    page = tab(reduced_motion="reduce").open(page_path)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_page__can_be_read_without_scripts(tab: Callable[..., Tab], page_path: Path):
    page = tab(java_script_enabled=False).open(page_path)
    assert page.get_by_role("heading", name="Kept for training").is_visible()
    assert page.locator(".zoom:visible").count() == 0  # a button that does nothing is not shown


@pytest.mark.parametrize("how", ["srcdoc", "src"])
def test_page__works_in_a_sandboxed_frame(tab: Callable[..., Tab], page_path: Path, tmp_path: Path, how: str):
    host = tmp_path / "host.html"
    source = (
        f'srcdoc="{html.escape(page_path.read_text(encoding="utf-8"))}"'
        if how == "srcdoc"
        else f'src="{page_path.as_uri()}"'
    )
    host.write_text(
        f'<!doctype html><meta charset="utf-8"><title>host</title>'
        f'<iframe sandbox="allow-scripts" style="width:1200px;height:800px" {source}></iframe>',
        encoding="utf-8",
    )
    shown = tab()
    page = shown.open(host)
    frame = page.frames[1]
    frame.wait_for_selector("main")
    assert frame.evaluate("origin") == "null"  # it is no part of the page around it
    where = frame.url
    frame.get_by_role("link", name="Cost").click()
    assert frame.url == where
    assert frame.evaluate("document.activeElement.id") == "cost"
    frame.get_by_role("button", name="theme").click()
    first, again = frame.locator("#gallery-gains ~ .shots .view svg").all()[:2]
    spread = [float(pixels(one.screenshot()).std()) for one in (first, again)]
    assert min(spread) > 15, "a picture is blank"
    frame.locator(".zoom").first.click()
    assert frame.locator("dialog").is_visible()
    shown.check(host.as_uri(), page_path.as_uri(), "about:srcdoc")


def pixels(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_page__axe_finds_nothing_serious(
    tab: Callable[..., Tab], page_path: Path, axe_script: str, theme: str, width: str
):
    page = tab(width=width, color_scheme=theme, bypass_csp=True).open(page_path)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(axe_script)
    serious = violations(page)
    page.locator(".zoom").first.evaluate("one => one.click()")
    serious += violations(page)
    assert serious == []


def violations(page: Any) -> list[str]:
    """What axe holds for serious or critical, one line each."""
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {one['help']} ({node['target']}: {node['failureSummary']})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def test_axe__would_notice(tab: Callable[..., Tab], axe_script: str, tmp_path: Path):
    bad = tmp_path / "bad.html"
    pixel = base64.b64encode(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes()).decode()
    bad.write_text(
        f'<html><body><img src="data:image/png;base64,{pixel}"><p style="color:#ddd">faint</p></body></html>'
    )
    page = tab().open(bad)
    page.evaluate(axe_script)
    assert {line.split(":")[0] for line in violations(page)} >= {"image-alt", "color-contrast", "html-has-lang"}


@pytest.fixture(scope="module", params=["compare", "fleet"])
def overview(request: pytest.FixtureRequest, report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of several runs, or of a fleet: two nights of one camera, one of another, and one left half done."""
    folder = tmp_path_factory.mktemp("overview")
    summary = read_summary(report)
    for name, camera, trained in (
        ("gate-20261119", "gate", 0.61),
        ("gate-20261120", "gate", 0.66),
        ("yard-20261120", "yard", 0.4),
    ):
        (folder / name).mkdir()
        (folder / name / "summary.json").write_text(json.dumps(summary | {"camera": camera, "map_50_trained": trained}))
    for part in ("tasks/.train-student.partial", "logs"):
        (folder / "far-20261120" / part).mkdir(parents=True)
    page = folder / "page.html"
    runs = sorted(str(path.parent) for path in folder.glob("*/summary.json"))
    words = ["compare", *runs] if request.param == "compare" else ["fleet", "report", str(folder)]
    assert CliRunner().invoke(cli, [*words, "--out", str(page)], catch_exceptions=False).exit_code == 0
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_overview__looks_whole_and_axe_finds_nothing_serious(
    tab: Callable[..., Tab], overview: Path, axe_script: str, theme: str, width: str
):
    assert overview.stat().st_size < MAX_PAGE_BYTES
    shown = tab(width=width, color_scheme=theme, bypass_csp=True)
    page = shown.open(overview)
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1], "the page is wider than the screen"
    kind = "compare" if "side by side" in page.inner_text("h1") else "fleet"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{kind}-{width}-{theme}.png"), full_page=True)
    shown.check(overview.as_uri())
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(axe_script)
    assert violations(page) == []
