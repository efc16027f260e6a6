"""Frame extraction: videos in, sampled frames out, split by time into a pool and a held-out part."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.frames import NEAR_DUPLICATES, REPORT, FrameWriter, PutShard, frame_id_of
from dataset_culling.errors import FootageError
from dataset_culling.footage.damage import SKIPPABLE, DamageLog
from dataset_culling.footage.decode import DecodeOptions
from dataset_culling.footage.extract import extract
from dataset_culling.footage.find import find_sources, utc_text
from dataset_culling.footage.holdout import TimeSplit, split_by_time
from dataset_culling.footage.near_duplicates import NearDuplicateGate
from dataset_culling.footage.timeline import Footage, Samples, choose, missing_stretches, overlaps, read_footage
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.storage import put_file

PARTS = ("pool", "heldout")


def run(config: ExtractFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read videos, sample, check and split their frames, write two frames/1.

    Raises:
        FootageError: If no video is usable, a part would be empty, or too much is lost to damage.
        OutputError: If the frames cannot be written.
    """
    watch = Stopwatch()
    if not config.sources:
        raise FootageError("sources: no video is given. Give --video FILE, FOLDER or s3:// prefix.")
    workers = config.workers or len(os.sched_getaffinity(0))
    footage = read_footage(
        find_sources(config.sources),
        name_time=re.compile(config.name_time_pattern),
        zone=config.name_time_zone,
        workers=workers,
    )
    seconds_indexing = watch.seconds()
    samples = choose(
        footage.segments, frames_per_second=config.frames_per_second, keyframe_slack_s=config.keyframe_slack_s
    )
    split = split_by_time(
        samples.time_s, heldout_share=config.heldout_share, gap_s=config.gap_s, max_gap_share=config.max_gap_share
    )
    damage = DamageLog(
        skipped=frozenset(kind for kind in SKIPPABLE if getattr(config, f"on_{kind}") == "skip"),
        frozen_min_s=config.frozen_min_s,
        join_s=2 / config.frames_per_second,
    )
    # The number of workers changes no frame, so it must change no artifact.
    origin = context.origin(config.replace(workers=0), inputs)
    start_utc = utc_text(footage.start) if footage.start else ""
    with ExitStack() as stack:
        pool, heldout = (
            stack.enter_context(
                FrameWriter(
                    outputs[part],
                    origin=origin,
                    shard_bytes=config.shard_bytes,
                    start_utc=start_utc,
                    put_shard=_put_under(f"{config.shards_uri.rstrip('/')}/{part}") if config.shards_uri else None,
                )
            )
            for part in PARTS
        )
        counts = _write(config, footage, samples, split, damage, pool, heldout, workers, context)
    return StageReport(
        counts=counts,
        figures={
            "seconds_indexing": seconds_indexing,
            "seconds_per_video_hour": watch.seconds() / max(footage.recorded_s, 1e-9) * 3600,
        },
        notes=_notes(config, footage, split, damage, counts),
    )


def _put_under(prefix: str) -> PutShard:
    def put(shard: Path, name: str) -> str:
        return put_file(shard, f"{prefix}/{name}").uri

    return put


def _write(
    config: ExtractFramesConfig,
    footage: Footage,
    samples: Samples,
    split: TimeSplit,
    damage: DamageLog,
    pool: FrameWriter,
    heldout: FrameWriter,
    workers: int,
    context: StageContext,
) -> dict[str, int]:
    """Decode, check and write the samples of both parts and the footage report; return the counts of samples."""
    wanted = samples.take(split.is_pool(samples.time_s) | split.is_heldout(samples.time_s))
    options = DecodeOptions(
        jpeg_quality=config.jpeg_quality,
        max_side_px=config.max_side_px,
        nvdec=config.decoder == "nvdec",
        strict=config.on_corrupt == "skip",
    )
    gate = NearDuplicateGate(
        min_change_levels=0.0 if config.near_duplicates == "keep" else config.near_duplicate_levels,
        min_cells=config.near_duplicate_cells,
        max_gap_s=config.near_duplicate_max_gap_s,
    )
    last_pool_s, first_heldout_s = float("-inf"), float("inf")
    num_damaged = bytes_of_near_duplicates = 0
    for done, sample in enumerate(extract(footage.segments, wanted, options, workers=workers), start=1):
        frame_id, picture = frame_id_of(sample.time_s), sample.picture
        if not damage.is_usable(picture, sample.time_s):
            num_damaged += 1
        elif sample.time_s >= split.heldout_start_s:
            heldout.add_jpeg(frame_id, sample.time_s, picture.jpeg)
            first_heldout_s = min(first_heldout_s, sample.time_s)
        else:
            is_new = gate.passes(frame_id, sample.time_s, picture.thumb_yuv[0])
            if not is_new:
                bytes_of_near_duplicates += len(picture.jpeg)
            if is_new or config.near_duplicates == "mark":
                pool.add_jpeg(frame_id, sample.time_s, picture.jpeg)
                last_pool_s = sample.time_s
        context.progress(done, len(wanted))
    counts = {
        "sampled": len(samples),
        "gap": len(samples) - len(wanted),
        "damaged": num_damaged,
        "near_duplicates": 0 if config.near_duplicates == "mark" else len(gate.dropped),
        "pool": pool.num_frames,
        "heldout": heldout.num_frames,
    }
    for segment in footage.segments:
        if (missing := int(segment.truncated_s * config.frames_per_second)) > 0:
            damage.add("truncated", segment.end_s, end_s=segment.end_s + segment.truncated_s, samples=missing)
    _check(config, damage, counts)
    near_duplicates = {
        "found": len(gate.dropped),
        "dropped": counts["near_duplicates"],
        "share": len(gate.dropped) / max(1, counts["near_duplicates"] + counts["pool"]),
        "bytes": bytes_of_near_duplicates,
    }
    split_used = {
        "pool_end_s": split.pool_end_s,
        "heldout_start_s": split.heldout_start_s,
        "gap_s": split.gap_s,
        "gap_s_asked": config.gap_s,
        "closest_s": first_heldout_s - last_pool_s,
    }
    report = {
        **_footage_report(footage, damage),
        "counts": counts,
        "near_duplicates": near_duplicates,
        "split": split_used,
    }
    for writer in (pool, heldout):
        writer.json(REPORT, report)
    pool.json(NEAR_DUPLICATES, gate.dropped)
    return counts


def _footage_report(footage: Footage, damage: DamageLog) -> dict[str, Any]:
    """Return the part of the footage report on files, damage and holes, as JSON values."""
    return {
        "start_utc": utc_text(footage.start) if footage.start else "",
        "files": [
            {
                "name": segment.info.path.name,
                "codec": segment.info.codec,
                "width_px": segment.info.width_px,
                "height_px": segment.info.height_px,
                "start_s": segment.start_s,
                "end_s": segment.end_s,
                "frames": int(segment.index.shown.sum()),
                "keyframes": len(segment.index.starts),
                "read_errors": segment.index.read_errors,
                "clock_restarts": segment.index.restarts,
            }
            for segment in footage.segments
        ],
        "left_out": list(footage.left_out),
        "damage": dict(damage.counts),
        "damaged_stretches": list(damage.stretches),
        "missing_stretches_s": [list(stretch) for stretch in missing_stretches(footage.segments)],
        "overlaps_s": [list(stretch) for stretch in overlaps(footage.segments)],
        "notes": list(footage.notes),
    }


def _check(config: ExtractFramesConfig, damage: DamageLog, counts: dict[str, int]) -> None:
    promised = counts["sampled"] + damage.counts["truncated"]
    if damage.lost > config.max_lost_share * promised:
        raise FootageError(
            f"footage: expected to lose at most {config.max_lost_share:g} of {promised} samples, lost {damage.lost} "
            f"({damage.summary()}). Copy the video again, or raise extract_frames.max_lost_share."
        )
    for part in PARTS:
        if not counts[part]:
            raise FootageError(
                f"footage: no usable frames in the {part} part ({damage.summary()}). "
                f"Give longer footage, or keep damaged frames with extract_frames.on_<kind>: keep."
            )


def _notes(
    config: ExtractFramesConfig, footage: Footage, split: TimeSplit, damage: DamageLog, counts: dict[str, int]
) -> tuple[str, ...]:
    notes = list(footage.notes)
    if split.gap_s < config.gap_s:
        notes.append(
            f"the gap before the held-out part is {split.gap_s:.1f} s, not {config.gap_s:g} s: "
            f"extract_frames.max_gap_share limits it to {config.max_gap_share:g} of the footage"
        )
    if any(damage.counts.values()):
        notes.append(f"damaged samples: {damage.summary()}")
    if counts["near_duplicates"]:
        of = counts["near_duplicates"] + counts["pool"]
        notes.append(f"{counts['near_duplicates']} of {of} training frames dropped as near-duplicates")
    return tuple(notes)
