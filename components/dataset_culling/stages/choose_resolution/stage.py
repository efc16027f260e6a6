"""optResolution: shrink the image by a factor again and again until the student grows unsure (paper, section 2.2)."""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.resolution import Resolution, ResolutionPoint, write_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import InputError
from dataset_culling.resolution.scale import choose_scale
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.choose_resolution.config import ChooseResolutionConfig
from dataset_culling.stages.detecting import local_weights, scan
from dataset_culling.strategies.confidence import frame_loss
from dataset_culling.types import FloatArray, parse_classes
