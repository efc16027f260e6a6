"""Weights from files: safetensors, or a pickle of tensors read with weights_only, so that no code in a file runs.

Published weights come from torch's cache, or are downloaded into it once.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pickle
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from dataset_culling.config import did_you_mean
from dataset_culling.detectors.compact import Layers, layers_in
from dataset_culling.errors import WeightsError

TIMEOUT_S = 10.0
"""Longest silence of a server before the one attempt to download fails."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and the file's metadata (empty for .pth).

    Reads .safetensors, or .pt/.pth/.ckpt that hold tensors only: a state dict, or a dict with one under 'model',
    'state_dict' or 'ema'.

    Raises:
        WeightsError: If the file is missing, of another kind, or a pickle that runs code.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Check the path.")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                keys = file.keys()  # not iterable itself
                return {key: file.get_tensor(key) for key in keys}, dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: expected safetensors, found {error}. Fetch the file again.") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        with path.open("rb") as file:
            opening = file.read(2)
        if isinstance(error, pickle.UnpicklingError) and (opening == b"PK" or opening[:1] == b"\x80"):
            raise WeightsError(
                f"{path}: this pickle runs code when loaded, which is refused. "
                f"Save it with torch.save(model.state_dict(), ...)."
            ) from None
        raise WeightsError(
            f"{path}: not .safetensors or a file of torch.save(model.state_dict()), or damaged. "
            f"Check the path or fetch the file again."
        ) from None
    for key in ("ema", "model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, found a {type(loaded).__name__}.")
    return dict(loaded), {}


# Older torchvision's names of layers that are wrapped once more today; most published files still use them.
_OLD_NAMES = (
    (re.compile(r"((?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
_OLD_RETINANET = re.compile(r"((?:classification|regression)_head\.conv)\.(\d+)\.(weight|bias)$")


def current_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys of older torchvision to today's; other keys stay.

    Source:
        torchvision (BSD-3-Clause): `_load_from_state_dict` of FeaturePyramidNetwork, RPNHead and RetinaNet's heads.
        Renaming before loading allows a check of all names before anything changes.
    """
    renamed = {}
    for key, value in state.items():
        for pattern, new in _OLD_NAMES:
            key = pattern.sub(new, key)
        key = _OLD_RETINANET.sub(lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}", key)
        renamed[key] = value
    return renamed


def load_state(module: nn.Module, state: Mapping[str, Any], *, where: str) -> None:
    """Load a state dict into a module, all of it or nothing; names of older torchvision are understood.

    Raises:
        WeightsError: Naming the first keys that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    state = current_names(state)
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in state and key not in optional]
    unknown = [key for key in state if key not in own and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key}: {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or unknown or shapes:
        parts = [
            f"{len(items)} {what} (first: {items[0]})"
            for what, items in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
            if items
        ]
        raise WeightsError(
            f"{where}: expected weights of {type(module).__name__}, found {'; '.join(parts)}. "
            f"These weights belong to another detector or another number of classes."
        )
    module.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The content of a detector's weights."""

    state: dict[str, Tensor] | None  # None: random weights
    class_names: tuple[str, ...] = ()  # empty if the file does not name them
    layers: Layers = field(default_factory=dict)  # sizes of a compact network; see `detectors.compact`


def detector_state(detector: str, weights: str, published: type[WeightsEnum] | None) -> Found:
    """Find and read a detector's weights.

    Args:
        detector: The detector's name, for errors.
        weights: 'none' for random weights, a file, or a name in `published`; empty: a file in the cache with the
            detector's name.
        published: torchvision's weights of this detector, if any.

    Raises:
        WeightsError: If the weights are missing or cannot be read.
    """
    if weights == "none":
        return Found(None)
    if published is not None and weights in {*published.__members__, "DEFAULT"}:
        return Found(torchvision_state(published, weights, detector=detector))
    names = tuple(published.__members__) if published is not None else ()
    path = weights_path(detector, weights, names=names)
    state, metadata = read_weights(path)
    return Found(state, class_names_of(metadata), layers_in(metadata, where=str(path)))


def class_names_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Parse the class names in a weights file's metadata; () if there are none."""
    return tuple(json.loads(metadata.get("class_names", "[]")))


def weights_path(
    detector: str,
    weights: str,
    *,
    names: Sequence[str] = (),
    suffixes: Sequence[str] = (".safetensors", ".pth"),
) -> Path:
    """Find the file of a detector's weights.

    Args:
        detector: The detector's name.
        weights: A file; empty: a file in the cache with the detector's name.
        names: Of published weights, for the error.
        suffixes: Endings of files for this detector.

    Raises:
        WeightsError: If the file is missing.
    """
    if weights:
        path = Path(weights)
        if not path.exists() and not path.suffix and len(path.parts) == 1:  # meant as a name
            known = [*names, "none"]
            raise WeightsError(
                f"{detector}: expected a weights file or one of {', '.join(known)}, found '{weights}'."
                f"{did_you_mean(weights, known)} Pass one of these or the path of a file."
            )
        return path
    for suffix in suffixes:
        cached = cache_dir() / f"{detector}{suffix}"
        if cached.is_file():
            return cached
    raise _missing_weights(detector, " or ".join(f"{detector}{suffix}" for suffix in suffixes))


def cache_dir() -> Path:
    """Return torch's folder of downloaded weights; TORCH_HOME moves it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def torchvision_state(published: type[WeightsEnum], weights: str, *, detector: str) -> dict[str, Tensor]:
    """Read a state dict that torchvision publishes, from torch's cache or downloaded into it, and check its hash.

    Args:
        published: torchvision's weights of one model, a detector or a backbone.
        weights: A name in `published`, or DEFAULT.
        detector: The detector's name, for errors.

    Raises:
        WeightsError: If it is not in the cache and the download fails, or its hash differs.
    """
    member = published[weights]  # DEFAULT is an alias in every one of them
    name = member.url.rsplit("/", 1)[-1]
    path = cache_dir() / name
    fetched = not path.is_file()
    if fetched:
        try:
            _download(member.url, path)
        except (OSError, http.client.HTTPException) as error:
            raise _missing_weights(detector, name, reason=_reason(error)) from None
    prefix = re.search(r"-([0-9a-f]{8,})\.", name)
    if prefix is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(prefix[1]):
            if fetched:
                path.unlink()
            todo = "It was not kept; run again to fetch it anew." if fetched else "Delete it and run again to fetch it."
            raise WeightsError(
                f"{path}: expected a file whose sha256 begins with {prefix[1]}, found {found[:12]}. {todo}"
            )
    state, _ = read_weights(path)
    return state


def _download(url: str, path: Path) -> None:
    """Download a file in one attempt, written beside and then renamed, with a bar on standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
    )
    request = urllib.request.Request(url, headers={"User-Agent": "dataset-culling"})  # some servers refuse Python's own
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, beside.open("wb") as file, bar:
            wanted = int(answer.headers.get("Content-Length") or 0)
            task = bar.add_task(path.name, total=wanted or None)
            got = 0
            while chunk := answer.read(1 << 18):
                file.write(chunk)
                got += len(chunk)
                bar.advance(task, len(chunk))
            if wanted and got < wanted:  # http.client reports no error if a body breaks off
                raise ConnectionError(f"the connection broke off after {got} of {wanted} bytes")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """Describe a failed download in one line."""
    inner = getattr(error, "reason", None) or error
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text).splitlines()[0]


def _missing_weights(detector: str, wanted: str, *, reason: str = "") -> WeightsError:
    """Make the error that names the file and three ways to provide it."""
    download = f"the download failed ({reason})" if reason else "no place to download it from"
    return WeightsError(
        f"{detector}: the weights ({wanted}) are not here and {download}. Three ways: put the file into "
        f"{cache_dir()} (or set TORCH_HOME to a folder that has it in hub/checkpoints); pass it with "
        f"--student-weights or --teacher-weights FILE; or pass s3://bucket/key there."
    )
