"""Configuration of the extract-frames stage."""

from __future__ import annotations

import re
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig

Policy = Literal["skip", "keep"]

NAME_TIME_PATTERN = (
    r"(?P<year>(?:19|20)\d\d)[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)[T _./-]+"
    r"(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)(?:[-_.:m]?(?P<second>\d\d))?(?!\d)"
)
"""2026-11-20T14-30-00, 20261120_143000, 2026-11-20/14.30.00 and the like."""


class ExtractFramesConfig(StageConfig):
    """Footage, sampling, storage of frames, and tolerated damage."""

    sources: tuple[str, ...] = Field((), description="Videos: files, folders, globs or s3:// prefixes.")
    name_time_pattern: str = Field(
        NAME_TIME_PATTERN,
        description="Regular expression for the time in a file's path: groups year month day hour minute [second].",
    )
    name_time_zone: str = Field("UTC", description="IANA time zone of the times in file names.")

    frames_per_second: float = Field(1.0, gt=0, le=1000, description="Frames sampled per second of footage.")
    keyframe_slack_s: float = Field(
        0.0,
        ge=0,
        description="Take a keyframe up to this much later instead, which saves decoding. 0: always the exact frame.",
    )
    heldout_share: float = Field(0.2, gt=0, lt=1, description="Share of the frames, from the end, to evaluate on.")
    gap_s: float = Field(60.0, ge=0, description="Least seconds between a training frame and a held-out one.")
    max_gap_share: float = Field(
        0.1, ge=0, le=1, description="Most of the footage that the gap takes; the report says when it limits the gap."
    )

    max_side_px: int = Field(0, ge=0, le=65500, description="Longest side of a stored frame; 0: as recorded.")
    jpeg_quality: int = Field(92, ge=1, le=100, description="JPEG quality of stored frames.")
    shard_bytes: int = Field(256 * 2**20, ge=1, le=2**40, description="Size at which a new shard begins.")
    shards_uri: str = Field("", description="Store prefix (s3://...) to put shards under; empty: in the artifact.")

    near_duplicates: Literal["drop", "mark", "keep"] = Field(
        "drop",
        description="Training frames like the last kept one. drop: leave them out; mark: keep them and report what "
        "dropping would save and cost; keep: do not compare.",
    )
    near_duplicate_levels: float = Field(
        10.0, ge=0, le=255, description="A frame is new if enough cells differ by this many levels of 0..255."
    )
    near_duplicate_cells: int = Field(3, ge=1, le=6912, description="Cells, of 96x72, that must differ.")
    near_duplicate_max_gap_s: float = Field(600.0, gt=0, description="Keep a frame at least this often in any case.")

    on_corrupt: Policy = Field("skip", description="Frames after broken data, up to the next keyframe.")
    on_grey: Policy = Field("skip", description="Frames partly filled with mid-grey.")
    on_green: Policy = Field("skip", description="Frames partly filled with zeros, which look green.")
    on_black: Policy = Field("skip", description="Frames without any light.")
    on_frozen: Policy = Field("skip", description="Frames that repeat bit for bit for longer than frozen_min_s.")
    frozen_min_s: float = Field(10.0, gt=0, description="Identical pictures for this long are a frozen camera.")
    max_lost_share: float = Field(
        0.5, ge=0, le=1, description="Fail when more than this share of the samples is lost to damage (frozen aside)."
    )

    decoder: Literal["cpu", "nvdec"] = Field(
        "cpu", description="Decoder of the frames; cpu is the reference, nvdec needs an NVIDIA GPU."
    )
    workers: int = Field(0, ge=0, le=256, description="Parallel decoders; 0: one for each core. Changes no result.")

    @model_validator(mode="after")
    def _pattern_and_zone_are_usable(self) -> Self:
        try:
            groups = set(re.compile(self.name_time_pattern).groupindex)
        except re.error as error:
            raise ValueError(f"name_time_pattern is not a regular expression: {error}") from None
        wanted = {"year", "month", "day", "hour", "minute"}
        if not wanted <= groups <= wanted | {"second"}:
            raise ValueError(
                f"name_time_pattern must have the groups {', '.join(sorted(wanted))} and at most second too"
            )
        try:
            ZoneInfo(self.name_time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"name_time_zone: no time zone is called {self.name_time_zone!r}") from None
        return self
