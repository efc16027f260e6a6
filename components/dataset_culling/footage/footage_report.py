"""The footage report: what was read, what became of it, and how the parts are separated; JSON, kept with the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_culling.footage.damage import DamageLog
from dataset_culling.footage.find import utc_text
from dataset_culling.footage.holdout import TimeSplit
from dataset_culling.footage.open import Footage
from dataset_culling.footage.timeline import missing_stretches, overlaps


def footage_report(
    footage: Footage,
    split: TimeSplit,
    damage: DamageLog,
    counts: Mapping[str, int],
    *,
    gap_s_asked: float,
    closest_s: float,
    num_near_duplicates: int,
    bytes_of_near_duplicates: int,
) -> dict[str, Any]:
    """Gather the report.

    Args:
        footage: What was read.
        split: Where the parts lie.
        damage: What was damaged.
        counts: Samples by what became of them: sampled = gap + damaged + near_duplicates + pool + heldout.
        gap_s_asked: The gap that the configuration asks for; `split` has the one used.
        closest_s: Least seconds between a frame of the pool and one of the held-out part, measured on what was written.
        num_near_duplicates: Training frames found to be such, whether they were dropped or marked.
        bytes_of_near_duplicates: What they take in storage, or would have taken.
    """
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
        "counts": dict(counts),
        "damage": dict(damage.counts),
        "damaged_stretches": list(damage.stretches),
        "missing_stretches_s": [list(stretch) for stretch in missing_stretches(footage.segments)],
        "overlaps_s": [list(stretch) for stretch in overlaps(footage.segments)],
        "near_duplicates": {
            "found": num_near_duplicates,
            "dropped": counts["near_duplicates"],
            "share": num_near_duplicates / max(1, counts["near_duplicates"] + counts["pool"]),
            "bytes": bytes_of_near_duplicates,
        },
        "split": {
            "pool_end_s": split.pool_end_s,
            "heldout_start_s": split.heldout_start_s,
            "gap_s": split.gap_s,
            "gap_s_asked": gap_s_asked,
            "closest_s": closest_s,
        },
        "notes": list(footage.notes),
    }
