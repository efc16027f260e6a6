"""The ways to choose frames that are compared, and what each would have paid for; and the variants beyond the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Labels = Literal["none", "kept", "pool", "all"]


@dataclass(frozen=True, slots=True)
class Arm:
    """A row of Table 2."""

    name: str
    title: str
    first: Mapping[str, Any]  # settings of cull_confidence, without the budget
    second: Mapping[str, Any]  # settings of cull_precision, without the budget
    labels: Labels  # frames the teacher must label for it: those kept, pool_factor times as many, or all
    scores: bool  # whether the student must run on every frame for it
    sized: bool = True  # whether it keeps a number of frames that was asked for
    trains: bool = True


_KEEP = {"strategy": "full"}
_ALL = (
    Arm("untrained", "untrained", {}, {}, "none", scores=False, sized=False, trains=False),
    Arm("uniform", "intermittent (uniform)", {"strategy": "uniform"}, _KEEP, "kept", scores=False),
    Arm("random", "random", {"strategy": "random"}, _KEEP, "kept", scores=False),
    Arm("entropy", "entropy", {"strategy": "entropy"}, _KEEP, "kept", scores=True),
    Arm("confidence-sum", "confidence (sum)",
        {"strategy": "confidence", "options": {"confidence": {"aggregation": "sum"}}}, _KEEP, "kept", scores=True),
    Arm("confidence-mean", "confidence (mean)",
        {"strategy": "confidence", "options": {"confidence": {"aggregation": "mean"}}}, _KEEP, "kept", scores=True),
    Arm("precision", "precision", {"strategy": "full"}, {"strategy": "precision"}, "all", scores=True),
    Arm("confidence+precision", "confidence + precision",
        {"strategy": "confidence"}, {"strategy": "precision"}, "pool", scores=True),
    Arm("coverage", "coverage, both stages", {"strategy": "coverage"}, {"strategy": "coverage"}, "pool", scores=True),
    Arm("top-confidence", "top confidence", {"strategy": "top-confidence"}, _KEEP, "kept", scores=True),
    Arm("full", "full data set", {"strategy": "full"}, _KEEP, "all", scores=False, sized=False),
)  # fmt: skip
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _ALL}


@dataclass(frozen=True, slots=True)
class Variant:
    """The same arm with something the paper does not have."""

    name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the run; scores are the camera's own student's
    gate: bool = False  # near-duplicates are dropped before anything costs
    logged: bool = False  # scores come from a log
    own_labels: bool = False  # the teacher labels for it alone, as it is asked otherwise
    preset: str = ""  # whose recipe and share of labels it has
    rate: float = 1.0  # times the learning rate of the recipe
    replays: str = ""  # the variant whose recorded subsets its training looks at


def _recipe(**knobs: Any) -> Mapping[str, Any]:
    return {"train_student": {"recipe": knobs}}


_VARIANTS = (
    Variant("plain", "as in the paper"),
    Variant("gate", "near-duplicate gate", gate=True),
    Variant("trust", "teacher trust (flip)", {"label_frames": {"trust": "flip"}}, own_labels=True),
    Variant("distillation", "feature distillation", {"train_student": {"recipe": {"distillation": 1.0}}}),
    Variant("logged", "scores from the camera's log", logged=True),
    Variant("gate+logged", "gate and log", gate=True, logged=True),
    Variant("paper", "`paper` preset: its recipe, its share of labels", preset="paper"),
    # The other seeds' techniques: training/README.md has a card of each
    Variant("selective-2", "Selective-Backprop, interrupt 2", _recipe(selective_backprop=True, selective_interrupt=2)),
    Variant("selective-3", "Selective-Backprop, interrupt 3", _recipe(selective_backprop=True, selective_interrupt=3)),
    Variant("random-subset", "random subsets, 30 %", _recipe(subset="random", subset_share=0.3)),
    Variant("random-pb", "RandomPB, 30 %", _recipe(subset="random-pb", subset_share=0.3)),
    Variant("gradmatch", "Grad-Match, 30 %", _recipe(subset="gradmatch", subset_share=0.3)),
    Variant("gradmatch-warm", "Grad-Match, 30 %, warm",
            _recipe(subset="gradmatch", subset_share=0.3, subset_warm=0.5)),
    Variant("half-rate", "half the learning rate", rate=0.5),
    Variant("cached", "Grad-Match's subsets again, half the rate", rate=0.5, replays="gradmatch"),
    Variant("cached-student", "Grad-Match's subsets again, `tiny_1d`", {"student": {"name": "tiny_1d"}},
            replays="gradmatch"),
    Variant("cyclical", "cyclical learning rate", _recipe(schedule="cyclical")),
    Variant("expand", "ExpandNets, 4 times", _recipe(expand=4)),
    Variant("separable", "DecomposeMe: `tiny_1d`", {"student": {"name": "tiny_1d"}}),
    # These act times the rate: at 0.0005, which the presets here have, as strong as 0.4 and 0.3 at 0.001
    Variant("prune", "joint training and pruning", _recipe(prune=0.8)),
    Variant("low-rank", "compression-aware training", _recipe(low_rank=0.6, low_rank_energy=0.9)),
    Variant("tracks", "labels repaired over time", {"label_frames": {"tracks": {"enabled": True}}}, own_labels=True),
)  # fmt: skip
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _VARIANTS}

LOG_LEFT_OUT = 20
"""Every this many frames the log of the variant `logged` has no record, so that the usual way is gone as well."""
