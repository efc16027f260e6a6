"""Every strategy, in one table. To add one: a folder beside this with code and README.md, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dataset_culling.config import StageConfig, did_you_mean, parse_config
from dataset_culling.errors import ConfigError
from dataset_culling.strategies import (
    confidence,
    confidence_precision,
    coverage,
    entropy,
    full,
    least_confidence,
    margin,
    precision,
    random,
    top_confidence,
    uniform,
)
from dataset_culling.strategies.base import CullInput, NoOptions, Strategy
from dataset_culling.strategies.doubt import DoubtConfig
from dataset_culling.types import Selection

_ALL = (
    Strategy("full", full.select, NoOptions, "every frame; a cull switched off", reads_scores=False, keeps_all=True),
    Strategy("uniform", uniform.select, NoOptions, "evenly spread: intermittent sampling", reads_scores=False),
    Strategy("random", random.select, NoOptions, "drawn by lot: the control", reads_scores=False),
    Strategy("entropy", entropy.select, DoubtConfig, "the student's scores near one half, by entropy"),
    Strategy("least-confidence", least_confidence.select, DoubtConfig, "the student's lowest scores"),
    Strategy("margin", margin.select, DoubtConfig, "the student's scores near one half, by distance"),
    Strategy("confidence", confidence.select, confidence.ConfidenceConfig, "the paper's first stage"),
    Strategy(
        "precision", precision.select, precision.PrecisionConfig, "the paper's second stage: worst against the teacher",
        reads_scores=False, needs_labels=True,
    ),
    Strategy(
        "confidence+precision", confidence_precision.select, confidence_precision.ConfidencePrecisionConfig,
        "the paper's two stages in one", needs_labels=True,
    ),
    Strategy("top-confidence", top_confidence.select, DoubtConfig, "the student's highest scores: cleanest labels"),
    Strategy("coverage", coverage.select, coverage.CoverageConfig, "hard, unlike each other, from every hour"),
)  # fmt: skip
STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _ALL}


def find_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in STRATEGIES:
        raise ConfigError(
            f"strategy: there is no '{name}'.{did_you_mean(name, list(STRATEGIES))} Known: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]


def parse_options(options: Mapping[str, Any]) -> dict[str, StageConfig]:
    """Options by strategy name, each checked against its strategy.

    Raises:
        ConfigError: Naming the strategy or option that is not known, or the value that does not fit.
    """
    return {
        name: parse_config(find_strategy(name).config, values, where=f"options of {name}")
        for name, values in options.items()
    }


def choose_frames(
    name: str,
    pool: CullInput,
    *,
    budget: int,
    min_gap_s: float = 0.0,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Selection:
    """Choose frames by the strategy of that name.

    Args:
        name: From the table.
        pool: The frames to choose from.
        budget: Most frames to keep; at least 1.
        min_gap_s: Least seconds between two kept frames; 0 turns spacing off.
        seed: For strategies that draw lots; equal seeds give equal choices.
        options: The strategy's own options; what is not named takes its default.

    Raises:
        ConfigError: If the name or an option is not known.
        ValueError: If the pool lacks what the strategy needs, or `budget` is below 1.
    """
    strategy = find_strategy(name)
    config = parse_config(strategy.config, options or {}, where=f"options of {name}")
    return strategy.select(pool, budget=budget, min_gap_s=min_gap_s, rng=np.random.default_rng(seed), config=config)
