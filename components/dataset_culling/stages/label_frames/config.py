"""Options of the label-frames stage."""

from __future__ import annotations

from dataset_culling.labeling.config import LabelingConfig


class LabelFramesConfig(LabelingConfig):
    """Options of labeling the frames that a cull kept, or all of them."""
