"""Configuration of the promote-student stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.evaluation.promotion_rule import PromotionBounds


class PromoteStudentConfig(PromotionBounds):
    """The registry, the promotion mode and the bounds of the promotion rule."""

    camera: str = Field("camera", pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    registry: str = Field("", description="Folder or s3:// prefix of the registry; empty: decide, but store nothing.")
    mode: Literal["auto", "dry-run", "manual"] = Field(
        "auto",
        description="auto: move the pointer if the candidate is better; manual: only publish it, an operator moves the "
        "pointer; dry-run: only report what auto would do.",
    )
