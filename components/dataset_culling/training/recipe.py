"""The knobs of training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig


def num_kept(num_images: int, keep: float) -> int:
    """How many images of a batch Selective-Backprop trains on: the share `keep` of them, rounded, at least one."""
    return max(1, round(keep * num_images))


class Recipe(StageConfig):
    """How the student is trained. The paper's: 20 epochs, Adam 1e-4, x0.1 at 9 and 18, flips, batches of one."""

    epochs: int = Field(20, ge=1, le=1000, description="Passes over the culled set.")
    batch_size: int = Field(4, ge=1, le=256, description="Images per step.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="How gradients become steps.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Decay of convolution and matrix weights, not of biases.")
    schedule: Literal["cosine", "step", "constant", "cyclical"] = Field(
        "cosine",
        description="How the rate goes: to zero by a cosine, by a tenth at each milestone, not at all, or up and down.",
    )
    milestones: tuple[int, ...] = Field((9, 18), description="Epochs at which the step schedule takes a tenth.")
    cycle_epochs: float = Field(
        4.0, gt=0, description="Epochs of one rise and fall of the cyclical schedule (triangular)."
    )
    cycle_floor: float = Field(0.25, ge=0, le=1, description="The cyclical schedule's lowest rate, as a share.")
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
        description="How far a box counts by the teacher's score: 1 - soft_labels * (1 - score); 0: all alike.",
    )
    distillation: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Weight of feature distillation (PKD): the student's feature maps follow the teacher's, which must "
        "be a torch detector; 0 turns it off.",
    )
    clip_norm: float = Field(5.0, ge=0, description="Largest norm of the gradient; 0 turns clipping off.")
    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="Decay of the running mean of weights that is kept as the result; 0: the last."
    )
    batch_norm: Literal["frozen", "train"] = Field(
        "frozen", description="Whether batch norm keeps the pretrained statistics, which few images cannot replace."
    )
    frozen_layers: int = Field(
        0, ge=0, description="Convolutions nearest to the image that keep their weights, batch norms among them too."
    )
    expand: int = Field(
        0,
        ge=0,
        le=16,
        description="ExpandNets: while training, kernels are products of factors with so many times the channels, and "
        "plain again in the model; 0 turns it off.",
    )
    prune: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Strength of the group Lasso: neurons that are not needed become zero while training, and are not "
        "in the model; R-CNNs and YOLOX; 0 turns it off.",
    )
    prune_l1_share: float = Field(
        0.0, ge=0, le=1, description="Share of `prune` that is a Lasso on single weights (sparse group Lasso)."
    )
    low_rank: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Strength of the nuclear norm: kernels learn to be of a low rank, and the model holds them as two "
        "of that rank where that is smaller; R-CNNs and YOLOX; 0 turns it off.",
    )
    low_rank_energy: float = Field(
        0.95, gt=0, le=1, description="Share of each kernel's squared singular values that `low_rank` keeps."
    )
    subset: Literal["none", "gradmatch", "random", "random-pb"] = Field(
        "none",
        description="What an epoch looks at: all; Grad-Match's batches, whose weighted gradients are like those of "
        "all; frames, or fixed batches, by lot.",
    )
    subset_share: float = Field(0.3, gt=0, le=1, description="Share of the frames or batches that a subset holds.")
    subset_every: int = Field(5, ge=1, description="Epochs that a subset is trained on before another is chosen.")
    subset_warm: float = Field(
        0.0, ge=0, le=1, description="Share of the epochs, the first ones, that look at everything."
    )
    subset_replay: str = Field(
        "",
        description="Cached-Grad-Match: go through the subsets that another training has recorded, a subset.jsonl or "
        "the model/1 it lies in, as path or s3:// URI; empty: choose them here.",
    )
    selective_backprop: bool = Field(
        False,
        description="Selective-Backprop: in part of the epochs a forward pass without gradients says which images of a "
        "batch are trained on, those of high loss more likely.",
    )
    selective_start: float = Field(0.5, ge=0, le=1, description="Share of the epochs after which it starts.")
    selective_end: float = Field(0.9, ge=0, le=1, description="Share of the epochs after which it is over.")
    selective_keep: float = Field(0.5, ge=0.1, lt=1, description="Share of a batch's images that are trained on then.")
    selective_interrupt: int = Field(
        2, ge=0, description="Every so many batches one is trained on whole all the same; 0: none is."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="What losses are computed in; auto: float32 on a CPU, bfloat16 or float16 on a GPU. "
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

    @model_validator(mode="after")
    def _a_replay_chooses_nothing(self) -> Self:
        if self.subset_replay and self.subset != "none":
            raise ValueError(f"subset_replay goes with subset none, found {self.subset}: leave one of them out")
        return self

    @model_validator(mode="after")
    def _selection_starts_before_it_ends(self) -> Self:
        if self.selective_start >= self.selective_end:
            raise ValueError(
                f"selective_start must be below selective_end, found {self.selective_start:g} and "
                f"{self.selective_end:g}"
            )
        return self

    @model_validator(mode="after")
    def _selection_leaves_images_out(self) -> Self:
        if not self.selective_backprop:
            return self
        if num_kept(self.batch_size, self.selective_keep) == self.batch_size:
            raise ValueError(
                f"selective_backprop expects batches of which selective_keep {self.selective_keep:g} leaves out an "
                f"image, found batch_size {self.batch_size}: raise batch_size, lower selective_keep, or turn it off"
            )
        if self.selective_interrupt == 1:
            raise ValueError(
                "selective_interrupt expects 0, or 2 and more, with selective_backprop, found 1, which trains on every "
                "batch whole: raise it, or turn selective_backprop off"
            )
        return self

    @model_validator(mode="after")
    def _what_is_expanded_stays_as_large(self) -> Self:
        if self.expand and (self.prune or self.low_rank):
            raise ValueError(
                f"expand expects 0 with prune or low_rank, which shrink kernels and not their factors, found "
                f"{self.expand}: set one of them to 0"
            )
        return self


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
