"""The list of strategies. To add one: a folder beside this file with code and README.md, and one row here."""

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
from dataset_culling.strategies.confidence_loss import ConfidenceConfig
from dataset_culling.strategies.precision_loss import PrecisionConfig
from dataset_culling.strategies.uncertainty import UncertaintyConfig
from dataset_culling.types import Selection

_ALL = (
    Strategy("full", full.select, NoOptions, "every frame; a cull switched off", reads_scores=False, keeps_all=True),
    Strategy("uniform", uniform.select, NoOptions, "evenly spread: intermittent sampling", reads_scores=False),
    Strategy("random", random.select, NoOptions, "random frames: the control", reads_scores=False),
    Strategy("entropy", entropy.select, UncertaintyConfig, "the student's scores near one half, by entropy"),
    Strategy("least-confidence", least_confidence.select, UncertaintyConfig, "the student's lowest scores"),
    Strategy("margin", margin.select, UncertaintyConfig, "the student's scores near one half, by distance"),
    Strategy("confidence", confidence.select, ConfidenceConfig, "the paper's first stage"),
    Strategy(
        "precision", precision.select, PrecisionConfig, "the paper's second stage: worst against the teacher",
        reads_scores=False, needs_labels=True,
    ),
    Strategy(
        "confidence+precision", confidence_precision.select, confidence_precision.ConfidencePrecisionConfig,
        "the paper's two stages in one", needs_labels=True,
    ),
    Strategy(
        "top-confidence", top_confidence.select, UncertaintyConfig, "the student's highest scores: cleanest labels"
    ),
    Strategy("coverage", coverage.select, coverage.CoverageConfig, "hard, unlike each other, from every hour"),
)  # fmt: skip
STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _ALL}


def find_strategy(name: str) -> Strategy:
    """Return the strategy of that name, or raise ConfigError."""
    if name not in STRATEGIES:
        raise ConfigError(
            f"strategy: '{name}' is unknown.{did_you_mean(name, list(STRATEGIES))} Known: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]


def parse_options(options: Mapping[str, Any]) -> dict[str, StageConfig]:
    """Validate options by strategy name.

    Raises:
        ConfigError: If a strategy or option is unknown, or a value invalid.
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
    """Choose frames by the strategy of that name; see `base.Select`.

    Args:
        name: A strategy's name.
        pool: The frames to choose from.
        budget: Most frames to keep; at least 1.
        min_gap_s: Least seconds between two kept frames; 0 turns spacing off.
        seed: Seed of strategies that choose at random; equal seeds give equal choices.
        options: The strategy's own options; those left out take their defaults.

    Raises:
        ConfigError: If the name or an option is unknown.
        ValueError: If the pool lacks a column that the strategy needs, or `budget` is below 1.
    """
    strategy = find_strategy(name)
    config = parse_config(strategy.config, options or {}, where=f"options of {name}")
    return strategy.select(pool, budget=budget, min_gap_s=min_gap_s, rng=np.random.default_rng(seed), config=config)
