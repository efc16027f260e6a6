"""Galleries of the page: the choice of frames and their captions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_culling.report.gallery import MAX_BOXES, compare_heldout, frames_shown, galleries, spread_picks
from dataset_culling.report.run_data import Run
from dataset_culling.types import Detections, ImageDetections
from report_inputs import shared_run


@pytest.fixture(scope="module")
def small_run() -> Run:
    return shared_run()


def test_spread_picks__skips_neighbours_of_the_first():
    time_s = np.array([0.0, 1, 2, 50, 100])
    assert spread_picks(np.array([1, 0, 2, 4, 3]), time_s, num=3).tolist() == [1, 4, 3]


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 2**32))
@settings(deadline=None)
def test_spread_picks__as_many_as_asked_for_in_the_order_given(num_rows, num, seed):
    rng = np.random.default_rng(seed)
    time_s = np.sort(rng.uniform(0, 1000, num_rows))
    order = rng.permutation(num_rows)
    picked = spread_picks(order, time_s, num=num).tolist()
    assert len(picked) == min(num, num_rows)
    assert picked == [row for row in order.tolist() if row in set(picked)]


def test_galleries__are_gains_failures_kept_and_left_out(small_run: Run):
    heldout = compare_heldout(small_run, min_score=0.3)
    gains, failures, kept, culled = galleries(small_run, heldout, num_pictures=6, min_score=0.3)
    heldout_ids = set(small_run.heldout.frame_ids.tolist())
    assert {shot.frame_id for shot in (*gains.shots, *failures.shots)} <= heldout_ids
    assert not {shot.frame_id for shot in gains.shots} & {shot.frame_id for shot in failures.shots}
    assert all("fewer" in shot.tag for shot in gains.shots)
    assert [view.title for view in gains.shots[0].views] == ["Raw student", "Trained student"]
    assert {shot.frame_id for shot in kept.shots} <= set(small_run.kept.frame_ids.tolist())
    assert all(len(shot.reasons) == 2 for shot in kept.shots)
    assert not {shot.frame_id for shot in culled.shots} & set(small_run.kept.frame_ids.tolist())
    assert {shot.tag for shot in culled.shots} == {"not sent to the teacher", "labelled, then left out"}


def test_galleries__culled_frames_name_their_loss_and_the_cut(small_run: Run):
    heldout = compare_heldout(small_run, min_score=0.3)
    culled = galleries(small_run, heldout, num_pictures=6, min_score=0.3)[3]
    shot = next(one for one in culled.shots if one.tag == "not sent to the teacher")
    row = int(np.searchsorted(small_run.pool.frame_ids, shot.frame_id))
    assert small_run.pool_loss is not None
    assert f"loss {small_run.pool_loss[row]:.3g}" in shot.reasons[0]
    assert f"under the cut at {small_run.selection.loss.min():.3g}" in shot.reasons[0]
    assert small_run.pool_loss[row] <= small_run.selection.loss.min()


def test_galleries__without_gains_says_so_instead(small_run: Run):
    same = dataclasses.replace(small_run, trained=small_run.raw)
    gains = galleries(same, compare_heldout(same, min_score=0.3), num_pictures=6, min_score=0.3)[0]
    assert gains.shots == ()
    assert "Training removed no mistake" in gains.empty


def test_galleries__no_pictures_asked_for(small_run: Run):
    heldout = compare_heldout(small_run, min_score=0.3)
    assert frames_shown(galleries(small_run, heldout, num_pictures=0, min_score=0.3)) == []


def test_galleries__a_crowd_is_drawn_only_in_part(small_run: Run):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, (300, 2))
    crowd = ImageDetections(
        np.concatenate([corner, corner + 20], axis=1).astype(np.float32),
        rng.uniform(0.5, 1, 300).astype(np.float32),
        np.zeros(300, np.int64),
    )
    raw = Detections.from_images(
        [crowd] * len(small_run.heldout),
        frame_ids=small_run.heldout.frame_ids,
        time_s=small_run.heldout.time_s,
        class_names=small_run.class_names,
    )
    crowded = dataclasses.replace(small_run, raw=raw)
    gains = galleries(crowded, compare_heldout(crowded, min_score=0.3), num_pictures=2, min_score=0.3)[0]
    student = gains.shots[0].views[0].layers[1]
    assert student.who == "student"
    assert len(student.boxes_xyxy) == len(student.states) == len(student.names) == MAX_BOXES
