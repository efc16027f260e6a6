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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
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
STORE_URI = "CULLING_SCRATCH_URI"
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
    """Make every check and print what it found.

    Args:
        out: The folder that runs are to be written to, or one that will be made.
        store: s3://bucket/prefix to write, read and remove a small object in; empty: CULLING_SCRATCH_URI's.
        kfp: URL of Kubeflow Pipelines; empty: KF_PIPELINES_ENDPOINT's.
        as_json: Print JSON instead of lines.

    Raises:
        NotHealthy: If a check says wrong; after all have been printed.
    """
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_torch,
        check_gpu,
        check_machine,
        check_codecs,
        lambda: check_disk(out),
        lambda: check_disk(Path(tempfile.gettempdir()), name="temporary files"),
        check_weights,
        lambda: check_store(store or os.environ.get(STORE_URI, "")),
        lambda: check_kfp(kfp or os.environ.get(KFP_ENDPOINT, "")),
    ]
    findings = []
    for check in checks:
        finding = check()
        findings.append(finding)
        if not as_json:
            click.echo(_line(finding))
    if as_json:
        click.echo(_as_json(findings))
    _refuse_wrong(findings)


def overfit_all(names: Sequence[str], *, device: str, as_json: bool = False) -> None:
    """Let students overfit eight drawn frames, one after another, and print how well.

    Args:
        names: Of the table of detectors; empty: every one that learns.
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
    findings = []
    live = sys.stderr.isatty() and not as_json
    for name in names or learners:
        show = _progress_of(name) if live else lambda done, total: None
        findings.append(check_overfit(name, device=device, progress=show))
        if live:
            click.echo("\r\033[K", nl=False, err=True)
        if not as_json:
            click.echo(_line(findings[-1]))
    if as_json:
        click.echo(_as_json(findings))
    _refuse_wrong(findings)


def _progress_of(name: str) -> Callable[[int, int], None]:
    """Write one line over and over: which student, how far, of the most steps that it may take."""

    def show(done: int, total: int) -> None:
        click.echo(f"\r\033[Koverfit {name}: step {done} of at most {total}", nl=False, err=True)

    return show


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
        try:
            result = overfit(
                detector,
                side_px=plan.side_px,
                recipe=ROUND.replace(learning_rate=plan.learning_rate),
                progress=progress,
            )
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
    """3.11 or later, on Linux."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - the very question
        return Finding("Python", "wrong", found, "Install Python 3.11 and make the environment again: make clean run.")
    if not sys.platform.startswith("linux"):
        return Finding("Python", "warning", f"{found} on {sys.platform}", "Only Linux is tested.")
    return Finding("Python", "ok", found)


def check_torch() -> Finding:
    """torch and torchvision are there, made for each other, and torchvision's compiled operators load."""
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
    """The torch version that torchvision's metadata pins, '' where it pins none."""
    pins = (re.match(r"torch\s*\(?==\s*([\w.]+)", requirement) for requirement in requirements)
    return next((pin[1] for pin in pins if pin), "")


def check_gpu() -> Finding:
    """Check for a CUDA device that torch can use."""
    try:
        import torch
    except ImportError:
        return Finding("GPU", "warning", "unknown without torch")
    if torch.cuda.is_available():
        seen = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding("GPU", "ok", ", ".join(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in seen))
    if any(Path("/dev").glob("nvidia[0-9]*")):
        if torch.version.cuda is None:
            return Finding(
                "GPU", "warning", "one is here, but torch is built without CUDA", "Install torch's CUDA build."
            )
        todo = f"Update the driver to one that knows CUDA {torch.version.cuda}, or look at nvidia-smi."
        return Finding("GPU", "warning", "one is here, but torch cannot use it", todo)
    return Finding("GPU", "ok", "none; everything runs on the CPU")


def check_machine() -> Finding:
    """Cores that this process may use, and memory."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = f"{cores} cores, {memory_gib:.0f} GiB memory"
    if memory_gib < 4:
        return Finding("machine", "warning", found, "Training wants 4 GiB; use --preset tiny or a smaller student.")
    return Finding("machine", "ok", found)


def check_codecs() -> Finding:
    """The decoders of ordinary cameras, the encoder of simulated ones, a JPEG there and back."""
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


def check_disk(folder: Path, *, name: str = "disk") -> Finding:
    """Room and the right to write where runs go; the nearest folder that exists is asked."""
    there = folder.absolute()
    while not there.is_dir() and there != there.parent:
        there = there.parent
    try:
        free_gib = shutil.disk_usage(there).free / 2**30
        with tempfile.NamedTemporaryFile(dir=there, prefix=".culling-doctor-"):
            pass
    except OSError as error:
        return Finding(name, "wrong", f"{there}: {error.strerror}", "Fix the permissions or choose another folder.")
    found = f"{free_gib:.0f} GiB free at {there}"
    if free_gib < LEAST_FREE_GIB:
        return Finding(name, "wrong", f"{free_gib:.2f} GiB free at {there}", "Free space or choose another folder.")
    if free_gib < GOOD_FREE_GIB:
        return Finding(name, "warning", found, "A camera-day of frames takes about 10 GiB.")
    return Finding(name, "ok", found)


def check_weights() -> Finding:
    """List the detectors that start without a download."""
    here = [name for name in DETECTORS if weights_at_hand(name)]
    found = f"at hand for {', '.join(here) or 'none'}"
    package = Path(__file__).parents[1] / "detectors" / "weights"
    lost = [
        name
        for name, spec in DETECTORS.items()
        if spec.default_weights == "embedded" and not (package / spec.file).is_file()
    ]
    if lost:
        todo = "Install the package again; in a checkout: git restore them, or make pretrain."
        return Finding("weights", "wrong", f"the embedded ones of {', '.join(lost)} are gone", todo)
    return Finding("weights", "ok", found)


def check_store(uri: str) -> Finding:
    """Write, read and remove a small object under `uri`; without one, reach the endpoint that the environment names."""
    from dataset_culling.storage import is_remote, open_store
    from dataset_culling.storage.settings import find_keys, load_settings, split_endpoint

    try:
        settings = load_settings()
        if not uri:
            if not settings.endpoint:
                return Finding("object store", "ok", "none configured; runs use folders")
            keys = find_keys(settings)
            _reach(*split_endpoint(settings.endpoint))
            found = f"{settings.endpoint} answers; keys from {keys.source}"
            return Finding("object store", "ok", found, "Pass --store s3://bucket/prefix to try them.")
        if not is_remote(uri):
            return Finding("object store", "wrong", uri, "Expected s3://bucket/prefix.")
        probe = f"{uri.rstrip('/')}/doctor-{uuid.uuid4().hex}"
        with _impatient():
            store, key = open_store(probe)
            store.put_bytes(key, b"culling doctor")
            same = store.get_bytes(key)[0] == b"culling doctor"
            store.delete(key)
        if not same:
            return Finding("object store", "wrong", f"{uri} gives back other bytes", "Do not use this store.")
        return Finding("object store", "ok", f"{uri}: written, read and removed")
    except CullingError as error:
        return Finding("object store", "wrong", str(error))
    except OSError as error:
        reason = error.strerror or error
        return Finding(
            "object store", "wrong", f"{settings.endpoint}: {reason}", "Start it or correct CULLING_S3_ENDPOINT."
        )


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
            said = json.loads(answer.read(1 << 16))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Finding("Kubeflow Pipelines", "wrong", f"{base}: {reason}", todo)
    if not isinstance(said, dict):
        return Finding("Kubeflow Pipelines", "wrong", f"{base} answers, but not as Kubeflow Pipelines does", todo)
    return Finding(
        "Kubeflow Pipelines", "ok", f"{base} is well, API {said.get('tag_name') or said.get('tagName', '?')}"
    )


def _reach(address: str, secure: bool) -> None:
    host, _, port = address.rpartition(":") if re.search(r":\d+$", address) else (address, "", "")
    with socket.create_connection((host.strip("[]"), int(port or (443 if secure else 80))), timeout=TIMEOUT_S):
        pass


class _impatient:  # noqa: N801 - used as a with statement
    """Inside, a store that does not answer is given up after seconds, not minutes, unless the environment says when."""

    _NAME = "CULLING_S3_RETRY_S"

    def __enter__(self) -> None:
        self._before = os.environ.get(self._NAME)
        os.environ.setdefault(self._NAME, str(TIMEOUT_S))

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            with suppress(KeyError):
                del os.environ[self._NAME]


def _as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(finding) for finding in findings], indent=1)


def _line(finding: Finding) -> str:
    mark = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}[finding.verdict]
    todo = f"\n{'':9}{'':20}  -> {finding.todo}" if finding.todo else ""
    return f"{mark}  {finding.name:20}  {finding.found}{todo}"


def _refuse_wrong(findings: Sequence[Finding]) -> None:
    wrong = [finding.name for finding in findings if finding.verdict == "wrong"]
    if wrong:
        raise NotHealthy(
            f"doctor: expected everything to be well, found {', '.join(wrong)} wrong. Do what it says above."
        )
