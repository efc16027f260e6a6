"""Options of the label-frames stage."""

from __future__ import annotations

from dataset_culling.labeling.config import LabelingConfig


class LabelFramesConfig(LabelingConfig):
    """The teacher looks at the frames that a cull kept, or at all of them."""
