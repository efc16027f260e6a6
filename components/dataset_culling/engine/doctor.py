"""Checks of `culling doctor`: what a run needs, and what to do about what is missing.

A check returns ok, warning or wrong. A warning, of something that some runs do without, leaves the exit code alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import click

from dataset_culling.config import did_you_mean
from dataset_culling.detectors.table import DETECTORS, weights_at_hand
from dataset_culling.errors import ConfigError, CullingError, InputError

Verdict = Literal["ok", "warning", "wrong"]

LEAST_FREE_GIB = 1.0
"""Below this a run cannot end: a camera-day of frames alone takes more."""
GOOD_FREE_GIB = 10.0
NEEDED_CODECS = ("h264", "hevc", "mpeg4", "mjpeg")
TIMEOUT_S = 5.0
STORE_URI, RETRY_S = "CULLING_SCRATCH_URI", "CULLING_S3_RETRY_S"
KFP_ENDPOINT = "KF_PIPELINES_ENDPOINT"
"""The variable that kfp's own client reads."""


@dataclass(frozen=True, slots=True)
class OverfitPlan:
    """Size and rate at which a student overfits quickly from random weights."""

    side_px: int = 128
    learning_rate: float = 1e-3


OVERFIT: dict[str, OverfitPlan] = {
    "ssdlite320_mobilenet_v3_large": OverfitPlan(160),
    "ssd300_vgg16": OverfitPlan(300, 2e-4),  # the least that its last maps bear
    "yolox_nano": OverfitPlan(128, 4e-3),
    "yolox_tiny": OverfitPlan(128, 4e-3),
    "yolox_s": OverfitPlan(128, 4e-3),
}
REGIONS = 64
"""Regions of an image that a Faster R-CNN's head learns from in this check, instead of 512: eight times as quick."""


class NotHealthy(InputError):
    """Something that runs need is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check, and the advice; `todo` is empty if there is nothing to do."""

    name: str
    verdict: Verdict
    found: str
    todo: str = ""


def doctor(*, out: Path, store: str = "", kfp: str = "", as_json: bool = False) -> None:
    """Make every check and print the findings.

    Args:
        out: The folder of runs; need not exist.
        store: s3://bucket/prefix for a small trial object; empty: CULLING_SCRATCH_URI's.
        kfp: URL of Kubeflow Pipelines; empty: KF_PIPELINES_ENDPOINT's.
        as_json: Print JSON instead of lines.

    Raises:
        NotHealthy: If a check says wrong; after all have been printed.
    """
    checks: tuple[Callable[[], Finding], ...] = (
        check_python, check_torch, check_gpu, check_machine, check_codecs,
        lambda: check_disk(out),
        lambda: replace(check_disk(Path(tempfile.gettempdir())), name="temporary files"),
        check_weights,
        lambda: check_store(store or os.environ.get(STORE_URI, "")),
        lambda: check_kfp(kfp or os.environ.get(KFP_ENDPOINT, "")),
    )  # fmt: skip
    print_findings((check() for check in checks), as_json=as_json)


def overfit_all(names: Sequence[str], *, device: str, as_json: bool = False) -> None:
    """Let students overfit eight drawn frames, one after another, and print how well.

    Args:
        names: Of the table of detectors; empty: all trainable ones.
        device: "cpu", "cuda" or "cuda:N".
        as_json: Print JSON instead of lines.

    Raises:
        ConfigError: If a name is not in the table, or its detector is not trainable.
        NotHealthy: If one stays at or below the bar; after all have been tried.
    """
    learners = [name for name, spec in DETECTORS.items() if spec.trainable]
    for name in names:
        if name not in learners:
            hint = did_you_mean(name, learners)
            raise ConfigError(f"--overfit {name}: no student is called so.{hint} Known: {', '.join(learners)}.")
    live = sys.stderr.isatty() and not as_json

    def check(name: str) -> Finding:
        def show(done: int, total: int) -> None:
            if live:
                click.echo(f"\r\033[Koverfit {name}: step {done} of at most {total}", nl=False, err=True)

        finding = check_overfit(name, device=device, progress=show)
        if live:
            click.echo("\r\033[K", nl=False, err=True)
        return finding

    print_findings((check(name) for name in names or learners), as_json=as_json)


def print_findings(findings: Iterable[Finding], *, as_json: bool = False) -> None:
    """Print each finding as it comes, or all of them as JSON at the end.

    Raises:
        NotHealthy: If one is wrong; after all have been printed.
    """
    seen = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            mark = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}[finding.verdict]
            todo = f"\n{'':9}{'':20}  -> {finding.todo}" if finding.todo else ""
            click.echo(f"{mark}  {finding.name:20}  {finding.found}{todo}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in seen], indent=1))
    if wrong := [finding.name for finding in seen if finding.verdict == "wrong"]:
        raise NotHealthy(
            f"doctor: expected everything to be well, found {', '.join(wrong)} wrong. Do what it says above."
        )


def check_overfit(
    name: str, *, device: str = "cpu", progress: Callable[[int, int], None] = lambda done, total: None
) -> Finding:
    """Overfit from random weights, or from those on this machine."""
    import torch

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.training.loop import TrainingDiverged
    from dataset_culling.training.overfit import PASSING_MAP_50, ROUND, overfit

    plan = OVERFIT.get(name, OverfitPlan())
    weights = "" if weights_at_hand(name) else "none"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = load_trainable(DetectorRef(name=name, weights=weights), device=device)
        heads = getattr(detector.module, "roi_heads", None)
        if heads is not None:
            heads.fg_bg_sampler.batch_size_per_image = min(heads.fg_bg_sampler.batch_size_per_image, REGIONS)
        recipe = ROUND.replace(learning_rate=plan.learning_rate)
        try:
            result = overfit(detector, side_px=plan.side_px, recipe=recipe, progress=progress)
        except TrainingDiverged as error:
            return Finding(f"overfit {name}", "wrong", str(error), "Its losses are broken.")
    start = "random weights" if weights == "none" else "its own weights"
    found = f"mAP@50 {result.map_50:.3f} after {result.steps} steps, {result.seconds:.0f} s, from {start}"
    if result.passed:
        return Finding(f"overfit {name}", "ok", found)
    todo = f"Wanted above {PASSING_MAP_50}: look at its losses, its label map (replace_head) and its box format."
    return Finding(f"overfit {name}", "wrong", found, todo)


# -- the checks


def check_python() -> Finding:
    """Require Python 3.11 or later, on Linux."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - the very question
        return Finding("Python", "wrong", found, "Install Python 3.11 and make the environment again: make clean run.")
    if not sys.platform.startswith("linux"):
        return Finding("Python", "warning", f"{found} on {sys.platform}", "Only Linux is tested.")
    return Finding("Python", "ok", found)


def check_torch() -> Finding:
    """Check that torch and torchvision fit each other, and that torchvision's compiled operators load."""
    try:
        torch_is, vision_is = (importlib.metadata.version(name) for name in ("torch", "torchvision"))
    except importlib.metadata.PackageNotFoundError as error:
        return Finding("torch", "wrong", f"no package {error.name}", "pip install 'dataset-culling[torch]'")
    found = f"torch {torch_is}, torchvision {vision_is}"
    wants = torch_wanted(importlib.metadata.requires("torchvision") or ())
    if wants and torch_is.partition("+")[0] != wants:
        return Finding("torch", "wrong", f"{found}, which is made for torch {wants}", f"pip install torch=={wants}")
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        todo = "Install both from one place: pip install --force-reinstall torch torchvision."
        return Finding("torch", "wrong", f"{found}: {reason}", todo)
    return Finding("torch", "ok", found)


def torch_wanted(requirements: Iterable[str]) -> str:
    """Find the torch version that torchvision's metadata pins; '' where it pins none."""
    pins = (re.match(r"torch\s*\(?==\s*([\w.]+)", requirement) for requirement in requirements)
    return next((pin[1] for pin in pins if pin), "")


def check_gpu() -> Finding:
    """Find a CUDA device that torch can use."""
    try:
        import torch
    except ImportError:
        return Finding("GPU", "warning", "unknown without torch")
    if torch.cuda.is_available():
        seen = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding("GPU", "ok", ", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in seen))
    if any(Path("/dev").glob("nvidia[0-9]*")):
        found, todo = "one is here, but torch is built without CUDA", "Install torch's CUDA build."
        if torch.version.cuda is not None:
            found = "one is here, but torch cannot use it"
            todo = f"Update the driver to one that knows CUDA {torch.version.cuda}, or look at nvidia-smi."
        return Finding("GPU", "warning", found, todo)
    return Finding("GPU", "ok", "none; everything runs on the CPU")


def check_machine() -> Finding:
    """Count the cores that this process may use, and the memory."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = f"{cores} cores, {memory_gib:.0f} GiB memory"
    if memory_gib < 4:
        return Finding("machine", "warning", found, "Training wants 4 GiB; use --preset tiny or a smaller student.")
    return Finding("machine", "ok", found)


def check_codecs() -> Finding:
    """Check the decoders of ordinary cameras, the encoder of simulated ones, and a JPEG there and back."""
    import av
    import numpy as np
    import simplejpeg

    missing = []
    for name, mode in (*((name, "r") for name in NEEDED_CODECS), ("libx264", "w")):
        try:
            av.codec.Codec(name, mode)
        except ValueError:  # av's UnknownCodecError is one
            missing.append(name)
    grey = np.full((16, 16, 3), 128, np.uint8)
    back = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(grey, quality=95))
    if int(np.abs(back.astype(int) - grey).max()) > 4:
        missing.append("jpeg")
    version = f"av {av.__version__}"
    if missing:
        todo = "Install the wheel: pip install --force-reinstall --only-binary av av."
        return Finding("codecs", "wrong", f"{version} without {', '.join(missing)}", todo)
    return Finding("codecs", "ok", f"{version}: {', '.join(NEEDED_CODECS)}, jpeg")


def check_disk(folder: Path) -> Finding:
    """Check free space and the right to write in the nearest folder that exists."""
    there = folder.absolute()
    while not there.is_dir() and there != there.parent:
        there = there.parent
    try:
        free_gib = shutil.disk_usage(there).free / 2**30
        with tempfile.NamedTemporaryFile(dir=there, prefix=".culling-doctor-"):
            pass
    except OSError as error:
        return Finding("disk", "wrong", f"{there}: {error.strerror}", "Fix the permissions or choose another folder.")
    found = f"{free_gib:.0f} GiB free at {there}"
    if free_gib < LEAST_FREE_GIB:
        return Finding("disk", "wrong", f"{free_gib:.2f} GiB free at {there}", "Free space or choose another folder.")
    if free_gib < GOOD_FREE_GIB:
        return Finding("disk", "warning", found, "A camera-day of frames takes about 10 GiB.")
    return Finding("disk", "ok", found)


def check_weights() -> Finding:
    """List the detectors that start without a download."""
    here = [name for name in DETECTORS if weights_at_hand(name)]
    package = Path(__file__).parents[1] / "detectors" / "weights"
    embedded = {name: package / spec.file for name, spec in DETECTORS.items() if spec.default_weights == "embedded"}
    if lost := [name for name, file in embedded.items() if not file.is_file()]:
        todo = "Install the package again; in a checkout: git restore them, or make pretrain."
        return Finding("weights", "wrong", f"the embedded ones of {', '.join(lost)} are gone", todo)
    return Finding("weights", "ok", f"at hand for {', '.join(here) or 'none'}")


def check_store(uri: str) -> Finding:
    """Write, read and remove a small object under `uri`; without one, reach the endpoint that the environment names."""
    from dataset_culling.storage import is_remote, open_store
    from dataset_culling.storage.settings import find_keys, load_settings, split_endpoint

    endpoint = ""
    try:
        settings = load_settings()
        endpoint = settings.endpoint
        if uri and not is_remote(uri):
            return Finding("object store", "wrong", uri, "Expected s3://bucket/prefix.")
        if uri:
            with _short_retries():
                store, key = open_store(f"{uri.rstrip('/')}/doctor-{uuid.uuid4().hex}")
                store.put_bytes(key, b"culling doctor")
                same = store.get_bytes(key)[0] == b"culling doctor"
                store.delete(key)
            if same:
                return Finding("object store", "ok", f"{uri}: written, read and removed")
            return Finding("object store", "wrong", f"{uri} gives back other bytes", "Do not use this store.")
        if not endpoint:
            return Finding("object store", "ok", "none configured; runs use folders")
        keys = find_keys(settings)
        address, secure = split_endpoint(endpoint)
        host, _, port = address.rpartition(":") if re.search(r":\d+$", address) else (address, "", "")
        with socket.create_connection((host.strip("[]"), int(port or (443 if secure else 80))), timeout=TIMEOUT_S):
            found = f"{endpoint} answers; keys from {keys.source}"
        return Finding("object store", "ok", found, "Pass --store s3://bucket/prefix to try them.")
    except CullingError as error:
        return Finding("object store", "wrong", str(error))
    except OSError as error:
        found, todo = f"{endpoint}: {error.strerror or error}", "Start it or correct CULLING_S3_ENDPOINT."
        return Finding("object store", "wrong", found, todo)


@contextmanager
def _short_retries() -> Iterator[None]:
    """Retry a store for seconds instead of minutes, unless the environment says how long."""
    unset = RETRY_S not in os.environ
    os.environ.setdefault(RETRY_S, str(TIMEOUT_S))
    try:
        yield
    finally:
        if unset:
            os.environ.pop(RETRY_S, None)


def check_kfp(endpoint: str) -> Finding:
    """Ask Kubeflow Pipelines for its health."""
    if not endpoint:
        return Finding("Kubeflow Pipelines", "ok", "none configured; runs are local")
    base = endpoint.rstrip("/") if "://" in endpoint else f"http://{endpoint.rstrip('/')}"
    todo = f"Check the address, kubectl port-forward and sign-in; it comes from --kfp or {KFP_ENDPOINT}."
    if not base.startswith(("http://", "https://")):
        return Finding("Kubeflow Pipelines", "wrong", f"{endpoint} is no http address", todo)
    try:
        with urllib.request.urlopen(f"{base}/apis/v2beta1/healthz", timeout=TIMEOUT_S) as answer:
            health = json.loads(answer.read(1 << 16))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Finding("Kubeflow Pipelines", "wrong", f"{base}: {reason}", todo)
    if not isinstance(health, dict):
        return Finding("Kubeflow Pipelines", "wrong", f"{base} answers, but not as Kubeflow Pipelines does", todo)
    version = health.get("tag_name") or health.get("tagName", "?")
    return Finding("Kubeflow Pipelines", "ok", f"{base} is well, API {version}")
