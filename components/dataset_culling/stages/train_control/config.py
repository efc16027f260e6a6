"""Knobs of the train-control stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.labeling.config import Labelling
from dataset_culling.training.config import Learning


class TrainControlConfig(StageConfig):
    """The control arm: what the student would learn from as many frames drawn by lot."""

    control_arm: bool = Field(False, description="Whether to train it; it costs another training, and n more labels.")
    seed: int = Field(0, ge=0, description="Of the lot.")
    labelling: Labelling = Field(Labelling(), description="As label-frames has it; a run lays it in from there.")
    training: Learning = Field(Learning(), description="As train-student has it; a run lays it in from there.")
