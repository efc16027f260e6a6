"""CPU, memory, GPU, retries and nodes of every task, chosen when the pipeline is compiled.

A cluster of your own is a YAML file laid over a named one, for `culling compile --profile FILE`:

    base: gpu
    gpu_type: nvidia.com/mig-3g.40gb
    gpu_node_selector: {pool: night}
    train: {memory: 24Gi}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from dataset_culling.config import StageConfig, did_you_mean, merge, parse_config, read_yaml
from dataset_culling.errors import ConfigError
from dataset_culling.pipeline.graph import STAGES

USER_ID = 10001
"""The user of our image. The pod names it too, as the namespace's `restricted` level demands."""
SCRATCH = "/tmp"
CACHE = "/cache"
CPU = r"^[0-9]+m?$"
BYTES = r"^[1-9][0-9]*[MG]i$"


class ResourceClass(StageConfig):
    """Resources of one kind of task. Memory's request equals its limit, so that a node is never promised twice."""

    cpu: str = Field("1", pattern=CPU, description="CPU cores asked for: 2, or 500m.")
    cpu_limit: str = Field("2", pattern=CPU, description="Most CPU cores; also the number of threads.")
    memory: str = Field("2Gi", pattern=BYTES, description="Memory, request and limit.")
    gpus: int = Field(0, ge=0, le=8, description="GPUs.")
    shared_memory: str = Field("64Mi", pattern=BYTES, description="Size of /dev/shm; counts as memory.")
    scratch: str = Field("2Gi", pattern=BYTES, description="Size of the writable scratch at /tmp.")
    timeout_s: int = Field(3600, ge=60, description="Seconds after which the task is ended.")
    retries: int = Field(2, ge=0, le=10, description="Most retries.")


class Profile(StageConfig):
    """A kind of cluster: its resource classes and its nodes."""

    summary: str = Field("", description="One line for the operator.")
    decode: ResourceClass = Field(ResourceClass(), description="Reading video.")
    network: ResourceClass = Field(ResourceClass(), description="Running a detector on frames.")
    train: ResourceClass = Field(ResourceClass(), description="Training the student.")
    small: ResourceClass = Field(ResourceClass(), description="Arithmetic over a few MB.")
    gpu_type: str = Field("nvidia.com/gpu", min_length=1, description="The GPU's resource name.")
    gpu_node_selector: dict[str, str] = Field({}, description="Labels of the nodes that GPU tasks go to.")
    node_selector: dict[str, str] = Field({}, description="Labels of the nodes that the others go to.")
    tolerate: tuple[str, ...] = Field((), description="Taint keys that GPU tasks tolerate, NoSchedule.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda)$", description="Device of tasks with a network.")
    store_secret: str = Field("culling-store", description="Secret with accesskey and secretkey of the object store.")
    store_settings: str = Field("culling-store", description="ConfigMap with endpoint and region of the object store.")
    cache_claim: str = Field("culling-cache", description="Volume claim of the weights cache; empty: no cache.")
    pull_policy: str = Field("IfNotPresent", pattern=r"^(Always|IfNotPresent|Never)$", description="Image pulls.")


PROFILES: Mapping[str, Profile] = {
    "gpu": Profile(
        summary="NVIDIA nodes: networks and training on one GPU each",
        decode=ResourceClass(cpu="2", cpu_limit="4", memory="4Gi", scratch="20Gi", timeout_s=6 * 3600, retries=1),
        network=ResourceClass(
            cpu="4", cpu_limit="8", memory="12Gi", gpus=1, shared_memory="2Gi", scratch="10Gi", timeout_s=4 * 3600
        ),
        train=ResourceClass(
            cpu="4", cpu_limit="8", memory="16Gi", gpus=1, shared_memory="4Gi", scratch="10Gi", timeout_s=4 * 3600
        ),
        small=ResourceClass(cpu="500m", cpu_limit="1", memory="2Gi", timeout_s=1800),
        gpu_node_selector={"nvidia.com/gpu.present": "true"},
        tolerate=("nvidia.com/gpu",),
        device="cuda",
    ),
    "cpu": Profile(
        summary="no GPU: the same work on more cores, for hours",
        decode=ResourceClass(cpu="2", cpu_limit="4", memory="4Gi", scratch="20Gi", timeout_s=6 * 3600, retries=1),
        network=ResourceClass(
            cpu="4", cpu_limit="8", memory="12Gi", shared_memory="1Gi", scratch="10Gi", timeout_s=12 * 3600, retries=1
        ),
        train=ResourceClass(
            cpu="8", cpu_limit="16", memory="16Gi", shared_memory="2Gi", scratch="10Gi", timeout_s=12 * 3600, retries=1
        ),
        small=ResourceClass(cpu="500m", cpu_limit="1", memory="2Gi", timeout_s=1800),
        device="cpu",
    ),
    "kind": Profile(
        summary="one small node, for the smoke run: small requests, short timeouts",
        decode=ResourceClass(cpu="250m", cpu_limit="2", memory="1Gi", timeout_s=900, retries=1),
        network=ResourceClass(cpu="250m", cpu_limit="2", memory="2Gi", timeout_s=900, retries=1),
        train=ResourceClass(cpu="250m", cpu_limit="2", memory="2Gi", timeout_s=900, retries=1),
        small=ResourceClass(cpu="100m", cpu_limit="1", memory="1Gi", timeout_s=900, retries=1),
        device="cpu",
        store_secret="mlpipeline-minio-artifact",
    ),
}

RESOURCE_CLASSES: Mapping[str, str] = {
    "extract-frames": "decode",
    "train-student": "train",
    "train-control": "train",
    # Memory for a network: where another run has promoted meanwhile, its champion is evaluated here.
    "promote-student": "decode",
}
"""Stage -> the resource class of its tasks, where it is neither `network` for a detector nor `small` for the rest."""
NOT_CACHED = frozenset({"find-footage", "recall-replay", "evaluate-student", "promote-student", "keep-night"})
"""Stages that depend on more than their inputs: what an address holds today, or what is in the registry."""


def load_profile(name: str) -> Profile:
    """Return the profile of that name, or the one that a YAML file describes.

    Raises:
        ConfigError: If the name is unknown or the file is invalid.
    """
    if name.endswith((".yaml", ".yml")):
        own = read_yaml(Path(name))
        base = load_profile(str(own.pop("base", "gpu")))
        return parse_config(Profile, merge(base.model_dump(), own), where=name)
    if name not in PROFILES:
        raise ConfigError(
            f"--profile: no profile is called '{name}'.{did_you_mean(name, list(PROFILES))} "
            f"Known: {', '.join(PROFILES)}, or a .yaml file laid over one."
        )
    return PROFILES[name]


def resource_class(stage: str) -> str:
    """Return the name of the resource class of a stage, or of find-footage."""
    uses_detector = stage in STAGES and STAGES[stage].uses_detector
    return RESOURCE_CLASSES.get(stage, "network" if uses_detector else "small")


def place(task: Any, stage: str, display_name: str, *, profile: Profile, image: str) -> None:
    """Set a task's name in the UI, its image, resources and nodes.

    Args:
        task: A `dsl.PipelineTask`.
        stage: Its stage, or find-footage.
        display_name: Its name in the UI.
        profile: The cluster.
        image: Image of the stages.
    """
    from kfp import kubernetes

    class_name = resource_class(stage)
    given: ResourceClass = getattr(profile, class_name)
    task.set_display_name(display_name).set_container_image(image).set_caching_options(stage not in NOT_CACHED)
    task.set_cpu_request(given.cpu).set_cpu_limit(given.cpu_limit)
    task.set_memory_request(given.memory).set_memory_limit(given.memory)
    if given.retries:
        task.set_retry(given.retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    if given.gpus:
        task.set_accelerator_type(profile.gpu_type).set_accelerator_limit(given.gpus)
    for name, value in _environment(given, class_name, profile).items():
        task.set_env_variable(name, value)
    for key, value in (profile.gpu_node_selector if given.gpus else profile.node_selector).items():
        kubernetes.add_node_selector(task, key, value)
    for key in profile.tolerate if given.gpus else ():
        kubernetes.add_toleration(task, key=key, operator="Exists", effect="NoSchedule")
    kubernetes.set_timeout(task, given.timeout_s)
    kubernetes.set_image_pull_policy(task, profile.pull_policy)
    kubernetes.set_security_context(task, run_as_user=USER_ID, run_as_group=USER_ID, run_as_non_root=True)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "dataset-culling")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH, size_limit=given.scratch)
    kubernetes.empty_dir_mount(
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=given.shared_memory
    )
    if profile.store_secret:
        keys = {"accesskey": "CULLING_S3_ACCESS_KEY", "secretkey": "CULLING_S3_SECRET_KEY"}
        kubernetes.use_secret_as_env(task, profile.store_secret, keys, optional=True)
    if profile.store_settings:
        # A pod that is tried again goes on from what the one before has left under "scratch".
        keys = {"endpoint": "CULLING_S3_ENDPOINT", "region": "CULLING_S3_REGION", "scratch": "CULLING_SCRATCH_URI"}
        kubernetes.use_config_map_as_env(task, profile.store_settings, keys, optional=True)
    if profile.cache_claim and class_name in ("network", "train"):
        kubernetes.mount_pvc(task, pvc_name=profile.cache_claim, mount_path=CACHE)


def _environment(given: ResourceClass, class_name: str, profile: Profile) -> dict[str, str]:
    """Return the number of threads, as libraries count the node's cores and not the container's, and the device.

    The device makes a pod without its GPU fail at once instead of training on the CPU for hours.
    """
    cores = max(1, int(given.cpu_limit[:-1]) // 1000) if given.cpu_limit.endswith("m") else int(given.cpu_limit)
    values = {"OMP_NUM_THREADS": str(cores)}
    if class_name in ("network", "train"):
        values["CULLING_DEVICE"] = profile.device
    return values
