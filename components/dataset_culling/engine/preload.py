"""Imports of the fork server: torch and the stages that run a detector. Importing this module makes them.

`engine.process` names it to multiprocessing, which imports it in the fork server alone. The server computes nothing: no
tensor, thread or CUDA context exists before a fork, so a child is as clean as a new interpreter.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

from dataset_culling.engine.interruption import die_with_parent

die_with_parent()
with contextlib.suppress(ImportError):  # an extra that is missing is reported by the stage that needs it
    for _module in (
        "torch._dynamo",  # optimisers and the FLOP counter import it
        "torch.utils.flop_counter",
        "torchvision.models.detection",
        "dataset_culling.detectors.embedded",
        "dataset_culling.engine.stage_main",
        "dataset_culling.stages.score_frames.stage",
        "dataset_culling.stages.label_frames.stage",
        "dataset_culling.stages.choose_resolution.stage",
        "dataset_culling.stages.train_student.stage",
        "dataset_culling.stages.evaluate_student.stage",
    ):
        importlib.import_module(_module)
gc.freeze()  # imported modules are never garbage; children need not copy their pages to find out
