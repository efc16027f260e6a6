"""The options of every cull: strategy, budget, spacing, seed, and the options of each strategy."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.errors import ConfigError
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import STRATEGIES, choose_frames, find_strategy, parse_options
from dataset_culling.types import Selection


class CullConfig(StageConfig):
    """Options that both culls share."""

    strategy: str = Field(description=f"How frames are chosen: {', '.join(STRATEGIES)}.")
    budget: int = Field(ge=1, description="Most frames to keep.")
    min_gap_s: float = Field(0.0, ge=0, description="Least seconds between two kept frames; 0 turns spacing off.")
    seed: int = Field(0, ge=0, description="Seed of strategies that choose at random.")
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Strategy name -> its own options, e.g. {confidence: {q: 4, aggregation: mean}}. Those of other "
        "strategies are checked and not used.",
    )

    @model_validator(mode="after")
    def _strategy_and_options_fit(self) -> Self:
        try:
            find_strategy(self.strategy)
            parse_options(self.options)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def choose(self, pool: CullInput) -> Selection:
        """Choose frames as configured; see `table.choose_frames`."""
        options = self.options.get(self.strategy)
        return choose_frames(
            self.strategy, pool, budget=self.budget, min_gap_s=self.min_gap_s, seed=self.seed, options=options
        )
