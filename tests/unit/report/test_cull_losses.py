"""Losses of all frames, recomputed from a cull's inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dataset_culling.report.cull_losses import losses_of_all
from dataset_culling.report.run_data import Run
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.config import CullConfig
from report_inputs import RAW, shared_run, spoil


@pytest.fixture(scope="module")
def small_run() -> Run:
    return shared_run()


def pool_of(run: Run) -> CullInput:
    return CullInput(run.scored)


@pytest.mark.parametrize("min_gap_s", [0.0, 30.0])
def test_losses_of_all__hold_the_kept_frames_losses(small_run: Run, min_gap_s: float):
    cull = CullConfig(strategy="confidence", budget=7, min_gap_s=min_gap_s)
    kept = cull.choose(pool_of(small_run))
    loss = losses_of_all(pool_of(small_run), cull.model_dump(mode="json"), kept)
    assert loss is not None
    assert loss.shape == (len(small_run.pool),)
    assert np.allclose(loss[small_run.scored.rows_of(kept.frame_ids)], kept.loss)


def test_losses_of_all__unknown_where_the_selection_was_made_from_other_boxes(small_run: Run):
    cull = CullConfig(strategy="confidence", budget=7)
    kept = cull.choose(pool_of(small_run))
    other = spoil(small_run.scored, RAW, np.random.default_rng(9), width_px=512, height_px=288)
    assert losses_of_all(CullInput(other), cull.model_dump(mode="json"), kept) is None


@pytest.mark.parametrize("cull", [{}, {"strategy": "no-such", "budget": 3}, {"strategy": "confidence", "future": 1}])
def test_losses_of_all__unknown_for_a_configuration_of_another_version(small_run: Run, cull: dict[str, object]):
    assert losses_of_all(pool_of(small_run), cull, small_run.selection) is None


def test_losses_of_all__unknown_where_nothing_is_ranked(small_run: Run):
    cull = CullConfig(strategy="full", budget=7)
    kept = cull.choose(pool_of(small_run))
    flat = dataclasses.replace(kept, loss=np.zeros(len(kept)))
    assert losses_of_all(pool_of(small_run), cull.model_dump(mode="json"), flat) is None
