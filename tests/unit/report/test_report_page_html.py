"""The page as text: whole, self-contained, small enough, safe. The browser looks at it in tests/pipeline."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from dataset_culling.artifacts.labels import WorstBox
from dataset_culling.report.charts.timeline import timeline_chart
from dataset_culling.report.pictures import encode, shrink
from dataset_culling.report.run_data import Frames, Run
from dataset_culling.report.run_page import build_page, footage_facts, near_duplicate_rows
from dataset_culling.report.summary import summarise
from page_outline import assert_sound
from report_inputs import shared_run


@pytest.fixture(scope="module")
def small_run() -> Run:
    return shared_run()


def page_of(run: Run, *, num_pictures: int = 4, width_px: int = 320, max_bytes: int = 1_950_000) -> str:
    return build_page(
        run,
        summarise(run),
        num_pictures=num_pictures,
        picture_width_px=width_px,
        min_score=0.3,
        max_bytes=max_bytes,
    )


@pytest.fixture(scope="module")
def html(small_run: Run) -> str:
    return page_of(small_run)


def test_build_page__is_sound_and_loads_nothing(html: str):
    assert_sound(html)


def test_build_page__equal_runs_give_equal_pages(small_run: Run, html: str):
    assert page_of(small_run) == html


def test_build_page__names_of_users_making_are_escaped(small_run: Run):
    evil = "<script>alert(1)</script>&\"'"
    renamed = {
        name: dataclasses.replace(getattr(small_run, name), class_names=(evil, "b", "c", "d"))
        for name in ("scored", "labels", "heldout_labels", "raw", "trained")
    }
    reasons = tuple(evil for _ in small_run.kept.reasons)
    html = page_of(
        dataclasses.replace(
            small_run, camera=evil, kept=dataclasses.replace(small_run.kept, reasons=reasons), **renamed
        )
    )
    assert "<script>alert" not in html
    assert html.count("<script>") == 1


def test_build_page__without_timings_truth_and_wall_clock(small_run: Run):
    metrics = {key: value for key, value in small_run.metrics.items() if not key.endswith("_truth")}
    pool, heldout = (
        dataclasses.replace(part, start_utc="", footage={}) for part in (small_run.pool, small_run.heldout)
    )
    bare = dataclasses.replace(
        small_run, metrics=metrics, costs={}, pool=pool, heldout=heldout, pool_loss=None, label_loss=None, training={}
    )
    html = page_of(bare)
    assert "No stage recorded a timing" in html
    assert "Accuracy against the truth" not in html
    assert "time of day, UTC" not in html
    assert "time in the footage" in html
    assert 'id="chart-losses"' not in html


def test_build_page__gives_up_pictures_rather_than_the_limit(small_run: Run):
    noise = np.random.default_rng(0).integers(0, 255, (288, 512, 3), np.uint8)

    def noisy(frames: Frames) -> Frames:
        return dataclasses.replace(frames, image=lambda frame_id: np.roll(noise, frame_id, axis=1))

    run = dataclasses.replace(small_run, pool=noisy(small_run.pool), heldout=noisy(small_run.heldout))
    page = page_of(run, num_pictures=12, width_px=480, max_bytes=700_000)
    assert len(page.encode()) <= 700_000
    drawn = re.findall(r'<image [^>]*href="(data:image/webp[^"]+)"', page)
    as_asked = len(encode(shrink(noise, 480), quality=80, frame_width_px=512).data_uri)
    assert len(drawn) >= 1
    assert max(len(one) for one in drawn) < as_asked


def test_build_page__a_limit_below_the_text_itself_is_refused(small_run: Run):
    with pytest.raises(ValueError, match="without any picture"):
        page_of(small_run, num_pictures=0, max_bytes=10_000)


@pytest.mark.parametrize(
    "footage",
    [
        {},
        {"counts": None, "damage": [], "files": [1, "x"], "damaged_stretches": ["?"], "missing_stretches_s": [[1]]},
        {"files": [{}] * 500, "damaged_stretches": [{}] * 500, "missing_stretches_s": [[1, 2]] * 500},
    ],
)
def test_footage_facts__an_odd_report_is_no_error(small_run: Run, footage: dict[str, object]):
    odd = dataclasses.replace(small_run.pool, footage=footage)
    facts = footage_facts(odd)
    assert all(len(facts[name].rows) <= 40 for name in ("files", "stretches") if facts[name] is not None)
    timeline_chart(dataclasses.replace(small_run, pool=odd))


def test_footage_facts__say_what_was_lost(small_run: Run):
    facts = footage_facts(small_run.pool)
    assert facts["damage"] == "3 corrupt, 1 grey"
    assert [row[2] for row in facts["stretches"].rows] == ["corrupt", "grey", "missing"]


def test_near_duplicate_rows__dropped_frames_and_those_that_dropping_would_lose():
    assert near_duplicate_rows(None) == near_duplicate_rows({"found": 0, "share": 0.0}) == []
    assert near_duplicate_rows({"found": 11, "dropped": 11, "share": 11 / 16}) == [
        ("near-duplicates found", "11 (69%)")
    ]
    marked = {"found": 4, "share": 0.4, "selection": {"of": 6, "lost": 2, "without_alike": 1}}
    assert near_duplicate_rows(marked)[1] == (
        "of 6 kept by the first cull, dropping them would lose", "2, 1 without a kept one like it",
    )  # fmt: skip


def test_build_page__labels_that_the_teacher_doubts_are_listed(small_run: Run):
    assert "Least consistent labels of the teacher" not in page_of(small_run, num_pictures=0)
    worst = [
        WorstBox(49000, 49.0, "<car>", 0.91, 0.125, (1.0, 2.0, 30.0, 40.4), True),
        WorstBox(58000, 58.0, "person", 0.55, 0.75, (5.0, 6.0, 7.0, 8.0), False),
    ]
    page = page_of(dataclasses.replace(small_run, worst=worst), num_pictures=0)
    for part in (
        "Least consistent labels of the teacher",
        "&lt;car&gt;",
        "0.91",
        "0.12",
        "1, 2, 30, 40",
        "ignored",
        "a label",
    ):
        assert part in page, part
    assert_sound(page)
