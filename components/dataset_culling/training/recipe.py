"""The options of training: a recipe of general options, and one section for each technique."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig
from dataset_culling.training.old_keys import with_sections
from dataset_culling.training.techniques.table import Techniques


class Recipe(StageConfig):
    """Options of training. The paper's recipe: 20 epochs, Adam 1e-4, x0.1 at 9 and 18, flips, batches of one."""

    epochs: int = Field(20, ge=1, le=1000, description="Passes over the culled set.")
    batch_size: int = Field(4, ge=1, le=256, description="Images per step.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="Optimiser.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Decay of convolution and matrix weights, not of biases.")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="Learning rate: to zero by a cosine, a tenth at each milestone, or constant."
    )
    milestones: tuple[int, ...] = Field((9, 18), description="Epochs at which the step schedule takes a tenth.")
    warmup_steps: int = Field(20, ge=0, description="Steps over which the rate rises linearly from near zero.")
    flip: bool = Field(True, description="Mirror each image with probability one half.")
    photometric: float = Field(
        0.2, ge=0, le=1, description="Largest relative change of brightness and contrast; 0 turns it off."
    )
    scale_jitter: float = Field(
        0.0,
        ge=0,
        le=4,
        description="Largest relative change of size: 0.5 enlarges (and crops) up to 1.5 times, shrinks (and pads) as "
        "far; 0 turns it off.",
    )
    soft_labels: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of a box by the teacher's score: 1 - soft_labels * (1 - score); 0: all alike.",
    )
    clip_norm: float = Field(5.0, ge=0, description="Largest norm of the gradient; 0 turns clipping off.")
    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="Decay of the running mean of weights that is kept as the result; 0: the last."
    )
    batch_norm: Literal["frozen", "train"] = Field(
        "frozen",
        description="Batch norms: keep the pretrained statistics, which few images cannot replace, or update them.",
    )
    frozen_layers: int = Field(
        0, ge=0, description="Convolutions nearest to the image that keep their weights, batch norms among them too."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Type that losses are computed in; auto: float32 on a CPU, bfloat16 or float16 on a GPU. "
        "float16 needs a GPU.",
    )
    early_stop_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the culled frames, the latest ones, kept aside to see when more training stops helping; "
        "0 trains on all of them, to the end.",
    )
    early_stop_patience: int = Field(
        5, ge=1, description="Epochs without a better mAP on that share after which training stops."
    )
    seed: int = Field(0, ge=0, description="Seeds shuffling, augmentation and the detector's own sampling.")

    techniques: Techniques = Field(Techniques(), description="Options of each technique; all are off by default.")

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, values: Any) -> Any:
        return with_sections(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _techniques_fit_together(self) -> Self:
        if problem := self.problem():
            raise ValueError(problem)
        return self

    def problem(self) -> str:
        """Return why the techniques that are on cannot be used together or with this batch size; empty if they can."""
        on = self.techniques.on()
        choosers = [name for name, config in on.items() if config.chooses_batches]
        if len(choosers) > 1:
            return f"techniques: {' and '.join(choosers)} both choose an epoch's batches: turn all but one off"
        for name, config in on.items():
            if problem := config.problem(batch_size=self.batch_size, others=on.keys() - {name}):
                return f"techniques.{name}: {problem}"
        return ""


PAPER = Recipe(
    epochs=20,
    batch_size=1,
    optimizer="adam",
    learning_rate=1e-4,
    weight_decay=0.0,
    schedule="step",
    milestones=(9, 18),
    warmup_steps=0,
    flip=True,
    photometric=0.0,
    clip_norm=0.0,
    ema_decay=0.0,
)
"""Yoshioka et al., ICIP 2019, as its released code trains (method notes: its optimiser is Adam whatever one asks)."""
