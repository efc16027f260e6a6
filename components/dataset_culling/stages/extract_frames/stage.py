"""Frame extraction: videos in, sampled frames out, cut by time into a pool to learn from and a held-out part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from dataset_culling.artifacts.frames import REPORT, FrameWriter, frame_id_of
from dataset_culling.errors import FootageError
from dataset_culling.footage.damage import DamageLog, FrozenWatch, picture_damage
from dataset_culling.footage.decode import DecodeOptions
from dataset_culling.footage.duplicates import NearDuplicateGate
from dataset_culling.footage.extract import Sampled, extract
from dataset_culling.footage.packets import index_packets
from dataset_culling.footage.probe import VideoInfo, probe
from dataset_culling.footage.sources import Source, find_sources, order_by_time, utc_text
from dataset_culling.footage.split import TimeSplit, split_by_time
from dataset_culling.footage.timeline import Samples, Segment, choose, lay_out, missing_stretches, overlaps
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig

PARTS = ("pool", "heldout")


def run(config: ExtractFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read videos, sample, judge and split their frames, write two frames/1.

    Raises:
        FootageError: If there is no usable video, a part would be empty, or too much is lost to damage.
        OutputError: If the frames cannot be written.
    """
    watch = Stopwatch()
    workers = config.workers or len(os.sched_getaffinity(0))
    segments, start, notes = read_footage(config, workers)
    seconds_indexing = watch.seconds()
    samples = choose(segments, frames_per_second=config.frames_per_second, keyframe_slack_s=config.keyframe_slack_s)
    split = split_by_time(
        samples.time_s,
        heldout_share=config.heldout_share,
        gap_s=config.gap_s,
        max_gap_share=config.max_gap_share,
    )
    if split.gap_s < config.gap_s:
        notes.append(
            f"the gap before the held-out part is {split.gap_s:.1f} s instead of {config.gap_s:g} s, "
            f"{config.max_gap_share:g} of this short footage"
        )
    # Where shards are put and how many workers there were changes no frame, so it is no part of the artifact.
    origin = context.origin(config.replace(workers=0), inputs)
    log = DamageLog(join_s=2 / config.frames_per_second)
    with ExitStack() as stack:
        writers = {
            part: stack.enter_context(
                FrameWriter(
                    outputs[part],
                    origin=origin,
                    jpeg_quality=config.jpeg_quality,
                    shard_bytes=config.shard_bytes,
                    start_utc=utc_text(start) if start else "",
                )
            )
            for part in PARTS
        }
        counts = _extract_into(writers, config, segments, samples, split, log, workers, context)
        _count_truncated(log, segments, config.frames_per_second)
        _check(config, log, counts)
        report = _footage_report(config, segments, samples, split, log, counts, notes, start)
        for part in PARTS:
            writers[part].json(REPORT, report)
    seconds = watch.seconds()
    video_s = sum(segment.end_s - segment.start_s for segment in segments)
    return StageReport(
        counts=counts,
        figures={
            "seconds_indexing": seconds_indexing,
            "seconds_per_video_hour": seconds / max(video_s, 1e-9) * 3600,
        },
        notes=(*notes, *_damage_notes(log)),
    )


def read_footage(config: ExtractFramesConfig, workers: int) -> tuple[list[Segment], datetime | None, list[str]]:
    """Find, probe, order and index the files; also when the footage starts, where known, and notes for people."""
    if not config.sources:
        raise FootageError(
            "sources: expected at least one video, found none. Give --video FILE, FOLDER or s3:// prefix."
        )
    notes: list[str] = []
    usable, infos = _probe_all(find_sources(config.sources), notes)
    order, starts, how = order_by_time(
        usable, infos, pattern=re.compile(config.name_time_pattern), zone=config.name_time_zone
    )
    if len(usable) > 1:
        notes.append(f"{len(usable)} files: {how}")
    paths = [usable[row].path for row in order]
    with ThreadPoolExecutor(workers) as pool:
        indices = list(pool.map(index_packets, paths))
    for path, index in zip(paths, indices, strict=True):
        if not index.shown.any() and len(paths) == 1:
            raise FootageError(f"{path}: expected frames, found a video stream without any. Copy the file again.")
    segments = lay_out([infos[row] for row in order], indices, starts)
    first = starts[0] if how != "start times from modification times" else None
    return [segment for segment in segments if segment.index.shown.any()], first, notes


def _probe_all(sources: Sequence[Source], notes: list[str]) -> tuple[list[Source], list[VideoInfo]]:
    usable, infos, problems = [], [], []
    for source in sources:
        try:
            infos.append(probe(source.path))
            usable.append(source)
        except FootageError as error:
            if source.explicit:
                raise
            problems.append(error)
    if not usable:
        raise problems[0]
    notes += [f"left out: {problem}" for problem in problems]
    return usable, infos


def _extract_into(
    writers: dict[str, FrameWriter],
    config: ExtractFramesConfig,
    segments: Sequence[Segment],
    samples: Samples,
    split: TimeSplit,
    log: DamageLog,
    workers: int,
    context: StageContext,
) -> dict[str, int]:
    counts = {"sampled": len(samples.time_s), "gap": 0, "near_duplicates": 0, "damaged": 0}
    parts = [split.part(time_s) for time_s in samples.time_s]
    wanted = [row for row, part in enumerate(parts) if part != "gap"]
    counts["gap"] = len(parts) - len(wanted)
    chosen = Samples(samples.time_s[wanted], samples.segment[wanted], samples.packet[wanted])
    gate = NearDuplicateGate(
        min_change_levels=config.near_duplicate_levels,
        min_cells=config.near_duplicate_cells,
        max_gap_s=config.near_duplicate_max_gap_s,
    )
    options = DecodeOptions(config.jpeg_quality, config.max_side_px, strict=config.on_corrupt == "skip")
    done = 0
    last_id = -1
    for sample in _undamaged(extract(segments, chosen, options, workers=workers), config, log):
        done += 1
        context.progress(done, len(wanted))
        if sample is None:
            counts["damaged"] += 1
            continue
        part = split.part(sample.time_s)
        frame_id = frame_id_of(sample.time_s)
        if (
            part == "pool"
            and config.drop_near_duplicates
            and not gate.passes(sample.picture.thumb_yuv[0], sample.time_s)
        ):
            counts["near_duplicates"] += 1
        elif frame_id > last_id:
            writers[part].add_jpeg(frame_id, sample.time_s, sample.picture.jpeg)
            last_id = frame_id
    counts.update({part: writer.num_frames for part, writer in writers.items()})
    return counts


def _undamaged(sampled: Iterator[Sampled], config: ExtractFramesConfig, log: DamageLog) -> Iterator[Sampled | None]:
    """The samples, with None for each that is damaged and to be skipped."""
    skipped = _skipped(config)
    frozen = FrozenWatch(config.frozen_min_s)
    for sample in sampled:
        picture = sample.picture
        stands = bool(picture.jpeg) and frozen.is_frozen(picture.crc32, sample.time_s)
        shown = picture_damage(picture.thumb_yuv) if picture.jpeg else ""
        kind = "corrupt" if picture.corrupt else shown or ("frozen" if stands else "")
        if kind:
            log.add(kind, sample.time_s)
        yield None if not picture.jpeg or skipped.get(kind, False) else sample


def _skipped(config: ExtractFramesConfig) -> dict[str, bool]:
    kinds = ("corrupt", "grey", "green", "black", "frozen")
    return {kind: getattr(config, f"on_{kind}") == "skip" for kind in kinds}


def _count_truncated(log: DamageLog, segments: Sequence[Segment], frames_per_second: float) -> None:
    for segment in segments:
        if (samples := int(segment.truncated_s * frames_per_second)) > 0:
            log.add("truncated", segment.end_s, until_s=segment.end_s + segment.truncated_s, samples=samples)


def _check(config: ExtractFramesConfig, log: DamageLog, counts: dict[str, int]) -> None:
    lost, promised = log.lost(_skipped(config)), counts["sampled"] + log.counts["truncated"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in log.counts.items() if count) or "none damaged"
    if lost > config.max_lost_share * promised:
        raise FootageError(
            f"footage: expected at most {config.max_lost_share:g} of {promised} samples to be lost, found {lost} "
            f"({kinds}). Copy the video again, or raise extract_frames.max_lost_share."
        )
    for part in PARTS:
        if not counts[part]:
            raise FootageError(
                f"footage: expected frames in the {part} part, found none that can be used ({kinds}). "
                f"Give longer footage, or keep damaged frames with extract_frames.on_*=keep."
            )


def _footage_report(
    config: ExtractFramesConfig,
    segments: Sequence[Segment],
    samples: Samples,
    split: TimeSplit,
    log: DamageLog,
    counts: dict[str, int],
    notes: list[str],
    start: datetime | None,
) -> dict[str, Any]:
    return {
        "files": [
            {
                "name": segment.info.path.name,
                "codec": segment.info.codec,
                "width_px": segment.info.width_px,
                "height_px": segment.info.height_px,
                "start_s": segment.start_s,
                "end_s": segment.end_s,
                "frames": int(segment.index.shown.sum()),
                "read_errors": segment.index.read_errors,
                "clock_restarts": segment.index.restarts,
            }
            for segment in segments
        ],
        "start_utc": utc_text(start) if start else "",
        "frames_per_second": config.frames_per_second,
        "counts": counts,
        "damage": log.counts,
        "damaged_stretches": log.stretches,
        "missing_stretches_s": [list(stretch) for stretch in missing_stretches(segments)],
        "overlaps_s": [list(stretch) for stretch in overlaps(segments)],
        "split": {
            "first_s": float(samples.time_s[0]),
            "pool_end_s": split.pool_end_s,
            "heldout_start_s": split.heldout_start_s,
            "last_s": float(samples.time_s[-1]),
            "gap_s": split.gap_s,
            "gap_s_asked": split.asked_gap_s,
        },
        "notes": notes,
    }


def _damage_notes(log: DamageLog) -> list[str]:
    return [f"{count} {kind} samples" for kind, count in log.counts.items() if count]
