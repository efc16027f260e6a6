"""Options of the train-control stage."""

from __future__ import annotations

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.labeling.config import LabelingConfig
from dataset_culling.training.config import TrainingConfig


class TrainControlConfig(StageConfig):
    """The control arm: the student trained on as many random frames."""

    control_arm: bool = Field(False, description="Train it, at the cost of another training and n more labels.")
    seed: int = Field(0, ge=0, description="Seed for drawing the random frames.")
    labelling: LabelingConfig = Field(LabelingConfig(), description="As in label-frames, from which a run copies it.")
    training: TrainingConfig = Field(TrainingConfig(), description="As in train-student, from which a run copies it.")
