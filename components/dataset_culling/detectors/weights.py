"""Weights from files, never by running code from them: safetensors, or a pickle of tensors read with weights_only."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from dataset_culling.errors import WeightsError


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and the file's metadata (empty for .pth).

    Takes .safetensors, or .pt/.pth/.ckpt that hold tensors only: a state dict, or a dict with one under 'model',
    'state_dict' or 'ema'.

    Raises:
        WeightsError: If the file is missing, is no such file, or would need code to be run to load it.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found nothing. Check the path.")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: expected safetensors, found {error}. Fetch the file again.") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: expected a state dict of tensors, found a pickle that needs code to be run, which is refused. "
            f"Save it with torch.save(model.state_dict(), ...)."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: expected a torch weights file, found {first}. Fetch the file again.") from None
    for key in ("ema", "model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, found a {type(loaded).__name__}.")
    return dict(loaded), {}


def load_state(module: nn.Module, state: Mapping[str, Any], *, where: str) -> None:
    """Load a state dict into a module, all of it or nothing.

    Raises:
        WeightsError: Naming the first keys that are missing, unknown or of another shape.
    """
    own = module.state_dict()
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


def detector_state(
    detector: str, weights: str, published: type[WeightsEnum] | None
) -> tuple[dict[str, Tensor] | None, tuple[str, ...]]:
    """The state dict that a detector's `weights` means, and the class names in it where the file says them.

    Args:
        detector: The detector's name, for errors.
        weights: 'none' for random weights, a file, or a name in `published`; empty where nothing is known.
        published: torchvision's weights of this detector, or None where there are none.

    Returns:
        (None, ()) for 'none'; else the state and the file's class names, () where it says none.

    Raises:
        WeightsError: If the weights cannot be had.
    """
    if weights == "none":
        return None, ()
    if published is not None and weights in {*published.__members__, "DEFAULT"}:
        return torchvision_state(published, weights, detector=detector), ()
    if not weights:
        raise missing_weights(detector, "a state dict of this detector (.safetensors or .pth)")
    state, metadata = read_weights(Path(weights))
    return state, tuple(json.loads(metadata.get("class_names", "[]")))


def torchvision_state(published: type[WeightsEnum], weights: str, *, detector: str) -> dict[str, Tensor]:
    """A state dict that torchvision publishes, out of torch's cache or downloaded into it, checked by its hash.

    Raises:
        WeightsError: If it is neither in the cache nor to be downloaded.
    """
    member = published[weights] if weights != "DEFAULT" else published.DEFAULT  # type: ignore[attr-defined]
    try:
        return dict(member.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError):
        raise missing_weights(detector, member.url.rsplit("/", 1)[-1]) from None


def missing_weights(detector: str, wanted: str) -> WeightsError:
    """The error that says which file is wanted and three ways to give it."""
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return WeightsError(
        f"{detector}: expected weights ({wanted}), found none here and no download. Three ways: put the file into "
        f"{cache}; pass it with --student-weights or --teacher-weights FILE; or pass s3://bucket/key there."
    )
