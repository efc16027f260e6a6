"""The compiled pipeline: the same graph as ours, the same words, values that reach the stages, YAML that KFP loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from conftest import REPOSITORY
from dataset_culling.cli.program import cli, exit_code_of
from dataset_culling.cli.stage import stage as stage_group
from dataset_culling.config import parse_config
from dataset_culling.engine.stage_main import stage_config
from dataset_culling.errors import ConfigError
from dataset_culling.kubeflow.components import COMPONENTS, IMAGE
from dataset_culling.kubeflow.executor_output import PAGES
from dataset_culling.kubeflow.parameters import FORM, pipeline_arguments, section_name
from dataset_culling.kubeflow.pipeline import compile_components, compile_pipeline
from dataset_culling.kubeflow.resources import PROFILES
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig
from dataset_culling.pipeline.presets import preset_names, read_preset
from dataset_culling.storage.scratch import SCRATCH_URI
from dataset_culling.storage.settings import ENVIRONMENT

COMPILED = REPOSITORY / "pipelines" / "compiled"
NO_STAGE = "find-footage"
"""The one task that reads and writes no artifact."""
MOST_BYTES = 200_000
"""Argo's limit on a workflow's arguments is 256 kB, and the workflow holds the YAML and more."""


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    pipeline, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return pipeline, platform


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compiled")
    for profile in PROFILES:
        compile_pipeline(folder / f"{profile}.yaml", profile)
    return {profile: folder / f"{profile}.yaml" for profile in PROFILES}


@pytest.fixture(scope="module")
def pipeline(compiled: dict[str, Path]) -> dict[str, Any]:
    return load(compiled["gpu"])[0]


def container(pipeline: dict[str, Any], task: str) -> dict[str, Any]:
    component = pipeline["components"][pipeline["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
    found: dict[str, Any] = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    return found


# --- goldens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_compiled__golden(profile, compiled):
    golden = COMPILED / f"{profile}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(compiled[profile].read_bytes())
    found, wanted = load(compiled[profile]), load(golden)
    for document in (found[0], wanted[0]):
        document.pop("sdkVersion")
    assert found == wanted, f"{golden.name} is out of date; after a wanted change: make golden"


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("components")
    compile_components(folder)
    return folder


@pytest.mark.parametrize("name", COMPONENTS)
def test_component__golden(name, components):
    golden = COMPILED / "components" / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes((components / golden.name).read_bytes())
    (found,) = yaml.safe_load_all((components / golden.name).read_text(encoding="utf-8"))
    (wanted,) = yaml.safe_load_all(golden.read_text(encoding="utf-8"))
    for document in (found, wanted):
        document.pop("sdkVersion")
    assert found == wanted, f"{golden.name} is out of date; after a wanted change: make golden"


@pytest.mark.parametrize("name", COMPONENTS)
def test_component__kfp_loads_it_and_shows_its_interface(name, pipeline):
    from kfp.components import load_component_from_file

    loaded = load_component_from_file(str(COMPILED / "components" / f"{name}.yaml")).component_spec
    component = pipeline["components"][f"comp-{name}"]
    for specs, definitions in ((loaded.inputs, "inputDefinitions"), (loaded.outputs, "outputDefinitions")):
        declared = {each: entry for kind in component[definitions].values() for each, entry in kind.items()}
        assert set(specs or {}) == set(declared)
        assert all(entry["description"] for entry in declared.values())
    assert loaded.name == name
    assert loaded.description == COMPONENTS[name].component_spec.description.splitlines()[0]


def test_components__one_yaml_for_each():
    assert {file.stem for file in (COMPILED / "components").iterdir()} == {NO_STAGE, *(task.name for task in WIRING)}


# --- the same graph --------------------------------------------------------------------------------------------------


def test_compiled__edges_equal_the_wiring(pipeline):
    edges = {}
    for name, task in pipeline["root"]["dag"]["tasks"].items():
        artifacts = task.get("inputs", {}).get("artifacts", {})
        sources = {key: value["taskOutputArtifact"] for key, value in artifacts.items()}
        edges[name] = {key: f"{s['producerTask']}.{s['outputArtifactKey']}" for key, s in sources.items()}
        before = {NO_STAGE} if name == "extract-frames" else set()
        assert set(task.get("dependentTasks", ())) == before | {s["producerTask"] for s in sources.values()}
    assert edges.pop(NO_STAGE) == {}
    assert edges == {task.name: dict(task.inputs) for task in WIRING}


def test_compiled__people_read_their_own_words(pipeline):
    shown = {name: task["taskInfo"]["name"] for name, task in pipeline["root"]["dag"]["tasks"].items()}
    assert shown.pop(NO_STAGE) == "Footage"
    assert shown == {task.name: task.display_name for task in WIRING}


@pytest.mark.parametrize("task", WIRING, ids=lambda task: task.name)
def test_compiled__outputs_are_the_stages(task, pipeline):
    component = pipeline["components"][f"comp-{task.name}"]
    kinds = {"model/1": "system.Model", "metrics/1": "system.Metrics"}
    wanted = {name: kinds.get(schema, "system.Dataset") for name, schema in STAGES[task.stage].writes.items()}
    wanted |= {page: "system.HTML" for page, (source, _) in PAGES.items() if source in wanted}
    found = component["outputDefinitions"]["artifacts"]
    assert {name: spec["artifactType"]["schemaTitle"] for name, spec in found.items()} == wanted


# --- values reach the stages -----------------------------------------------------------------------------------------


def launcher_text(value: Any) -> str:
    """A parameter as the cluster's launcher writes it into an argument (launcher_v2.go, getPlaceholders)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = f"{value:.17f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else repr(value)
        return text if float(text) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def as_kfp_keeps_it(value: Any) -> Any:
    """Numbers inside dicts and lists become floats on the way through protobuf."""
    if isinstance(value, dict):
        return {key: as_kfp_keeps_it(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_kfp_keeps_it(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def command_of(pipeline: dict[str, Any], task: str, arguments: dict[str, Any]) -> list[str]:
    """The command line of a task's container, with the pipeline's arguments put in as the launcher does."""
    inputs = pipeline["root"]["dag"]["tasks"][task]["inputs"]["parameters"]
    spec = container(pipeline, task)
    line = []
    given = {**arguments, "found": arguments["footage"], "version": "0123456789abcdef", SCHEDULED: SCHEDULED_UTC}
    for part in [*spec["command"], *spec["args"]]:
        for name, source in inputs.items():
            key = source.get("componentInputParameter") or source.get("taskOutputParameter", {}).get(
                "outputParameterKey"
            )
            value = as_kfp_keeps_it(given[key or source["runtimeValue"]["constant"]])
            part = part.replace(f"{{{{$.inputs.parameters['{name}']}}}}", launcher_text(value))
        line.append(part)
    return line


SCHEDULED, SCHEDULED_UTC = "{{$.pipeline_job_schedule_time_utc}}", "2026-11-21T01:12:00Z"
"""What KFP 2.17's driver puts the scheduled start in for, where it is a task's whole argument (driver, resolve.go)."""


def parsed(stage: str, line: list[str]) -> dict[str, Any]:
    """What the real command line makes of it."""
    assert line[:3] == ["culling", "stage", stage]
    command = stage_group.commands[stage]
    context: click.Context = command.make_context(stage, line[3:], resilient_parsing=False)
    return context.params


def other_settings() -> PipelineConfig:
    """Every scalar differs from its default, some in ways that YAML would misread."""
    return parse_config(
        PipelineConfig,
        {
            "camera": "007",
            "classes": ["person", "vehicle=car+truck+bus"],
            "student": {"name": "yolox_nano", "weights": "s3://weights/a b #1.onnx", "side_px": 416},
            "teacher": {"name": "/models/teacher: big.yaml", "weights": "no"},
            "registry": "s3://elsewhere/registry",
            "truth": "s3://footage/truth.json",
            "extract_frames": {"sources": ["s3://footage/007/*.mp4", "/video/it's.mp4"], "frames_per_second": 0.25},
            "cull_confidence": {"budget": 77, "strategy": "random"},
            "cull_precision": {"budget": 7, "strategy": "confidence"},
            "promote_student": {"mode": "dry-run"},
            "train_student": {"recipe": {"epochs": 3, "learning_rate": 1e-5, "milestones": [1, 2]}},
        },
        where="test",
    )


SETTINGS = {
    **{name: parse_config(PipelineConfig, read_preset(name), where=name) for name in preset_names()},
    "other": other_settings(),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("task", WIRING, ids=lambda task: task.name)
def test_compiled__every_setting_reaches_its_stage(task, name, pipeline):
    settings = SETTINGS[name].replace(registry=SETTINGS[name].registry or "s3://culling/registry")
    line = command_of(pipeline, task.name, pipeline_arguments(settings))
    options = parsed(task.stage, line)
    found = stage_config(STAGES[task.stage], options["config"], options["changes"])
    assert found == settings.stage_config(task.stage)


@pytest.mark.parametrize("task", WIRING, ids=lambda task: task.name)
def test_compiled__every_artifact_has_its_flag(task, pipeline):
    line = command_of(pipeline, task.name, pipeline_arguments(SETTINGS["other"]))
    options = parsed(task.stage, line)
    for name in task.inputs:
        assert options[name] == f"{{{{$.inputs.artifacts['{name}'].path}}}}"
    for name in STAGES[task.stage].writes:
        assert options[name] == f"{{{{$.outputs.artifacts['{name}'].path}}}}"
    assert options["executor_input"] == "{{$}}"


def test_compiled__defaults_are_the_default_preset(pipeline):
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    wanted = pipeline_arguments(SETTINGS["default"])
    shown = {name: spec["defaultValue"] for name, spec in parameters.items() if "defaultValue" in spec}
    assert {name for name in parameters if name not in shown} == {"camera", "footage"}  # asked for, never guessed
    assert shown == {
        **{name: as_kfp_keeps_it(value) for name, value in wanted.items() if name in shown},
        "registry": "s3://culling/registry",
    }


def test_compiled__form_can_be_filled_without_reading_code(pipeline):
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {each.name for each in FORM} | {section_name(stage) for stage in STAGES}
    for name, spec in parameters.items():
        assert len(spec.get("description", "")) > 10, f"{name} has no description"
    for spec in parameters.values():
        if "literals" in spec and "defaultValue" in spec:
            assert spec["defaultValue"] in spec["literals"]
    assert "yolox_nano" in parameters["student"]["literals"]
    assert parameters["promotion"]["literals"] == ["auto", "dry-run", "manual"]


# --- what KFP and Kubernetes make of it ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_compiled__kfp_loads_it(profile, compiled):
    from google.protobuf import json_format
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2

    pipeline, platform = load(compiled[profile])
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    loaded = components.load_component_from_file(str(compiled[profile]))
    assert set(loaded.component_spec.inputs) == set(pipeline["root"]["inputDefinitions"]["parameters"])
    assert compiled[profile].stat().st_size < MOST_BYTES


@pytest.mark.parametrize("profile", PROFILES)
def test_compiled__every_task_is_placed(profile, compiled):
    pipeline, platform = load(compiled[profile])
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    wanted = PROFILES[profile]
    for name, task in pipeline["root"]["dag"]["tasks"].items():
        spec, pod = container(pipeline, name), executors[f"exec-{name}"]
        assert spec["image"] == IMAGE
        assert spec["resources"]["resourceMemoryRequest"] == spec["resources"]["resourceMemoryLimit"]
        assert int(pod["activeDeadlineSeconds"]) >= 60
        assert task["retryPolicy"]["maxRetryCount"] >= 1
        assert {mount["mountPath"] for mount in pod["emptyDirMounts"]} == {"/tmp", "/dev/shm"}
        gpu = spec["resources"].get("accelerator", {})
        if gpu:
            assert (gpu["resourceType"], gpu["resourceCount"]) == (wanted.gpu_type, "1")
            assert pod["nodeSelector"]["labels"] == wanted.gpu_node_selector
            assert [toleration["key"] for toleration in pod["tolerations"]] == list(wanted.tolerate)
            assert {"name": "CULLING_DEVICE", "value": "cuda"} in spec["env"]
        assert bool(gpu) == (profile == "gpu" and "pvcMount" in pod)


def test_compiled__only_what_depends_on_the_world_is_not_cached(pipeline):
    tasks = pipeline["root"]["dag"]["tasks"]
    assert {name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")} == {
        "find-footage",
        "recall-replay",
        "evaluate-student",
        "promote-student",
        "keep-night",
    }


def test_compiled__the_footage_of_the_night_is_found_first(pipeline, tmp_path):
    """The task's command, as a pod has it, finds the footage of the day before its start, and says so to KFP."""
    (tmp_path / "2026-11-20").mkdir()
    (tmp_path / "2026-11-20" / "gate.mp4").write_bytes(b"1234")
    settings = SETTINGS["tiny"].replace(
        extract_frames=SETTINGS["tiny"].extract_frames.replace(sources=(f"{tmp_path}/{{day}}/*.mp4",))
    )
    arguments = {**pipeline_arguments(settings), "time_zone": "Europe/Berlin"}
    line = command_of(pipeline, NO_STAGE, arguments)
    for name in ("found", "version"):
        line = [
            part.replace(f"{{{{$.outputs.parameters['{name}'].output_file}}}}", str(tmp_path / name)) for part in line
        ]
    assert line[:2] == ["culling", "footage"]
    assert exit_code_of(lambda: cli.main(line[1:], standalone_mode=False)) == 0
    assert json.loads((tmp_path / "found").read_text()) == [f"{tmp_path}/2026-11-20/*.mp4"]
    assert len((tmp_path / "version").read_text()) == 16
    inputs = pipeline["root"]["dag"]["tasks"]["extract-frames"]["inputs"]["parameters"]
    assert {
        name: inputs[name]["taskOutputParameter"]["outputParameterKey"] for name in ("footage", "footage_version")
    } == {
        "footage": "found",
        "footage_version": "version",
    }


def test_compiled__secrets_come_from_a_secret(compiled):
    for path in compiled.values():
        pipeline, platform = load(path)
        plain = json.dumps(pipeline).lower()
        assert "access_key" not in plain
        assert "secret_key" not in plain
        for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            assert [secret["optional"] for secret in pod["secretAsEnv"]] == [True]


@pytest.mark.parametrize("profile", PROFILES)
def test_compiled__every_variable_of_ours_is_one_that_is_read(profile, compiled):
    pipeline, platform = load(compiled[profile])
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in WIRING:
        pod = executors[f"exec-{task.name}"]
        sources = [*pod["secretAsEnv"], *pod["configMapAsEnv"]]
        given = {key["envVar"] for source in sources for key in source["keyToEnv"]}
        assert given <= {*ENVIRONMENT, SCRATCH_URI}
        options = {option.envvar for option in stage_group.commands[task.stage].params}
        plain = {each["name"] for each in container(pipeline, task.name)["env"]}
        assert plain - {"OMP_NUM_THREADS"} <= options


# --- compiling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["culling", "culling:latest", "registry:5000/culling", "culling@sha256:12", "a b:1"])
def test_compile_pipeline__image_that_can_move_is_refused(image, tmp_path):
    with pytest.raises(ConfigError, match=r"^--image [^\n]*expected NAME:TAG with a tag that never moves"):
        compile_pipeline(tmp_path / "p.yaml", "gpu", image)
    assert not list(tmp_path.iterdir())


def test_compile_pipeline__image_and_profile_file(tmp_path):
    (tmp_path / "night.yaml").write_text("base: gpu\ngpu_type: nvidia.com/mig-3g.40gb\n")
    image = "registry:5000/team/culling@sha256:" + "ab" * 32
    compile_pipeline(tmp_path / "deep" / "p.yaml", str(tmp_path / "night.yaml"), image)
    pipeline, _ = load(tmp_path / "deep" / "p.yaml")
    assert {container(pipeline, task.name)["image"] for task in WIRING} == {image}
    trainer = container(pipeline, "train-student")["resources"]["accelerator"]
    assert trainer["resourceType"] == "nvidia.com/mig-3g.40gb"


def test_compile_pipeline__fresh_process_loads_no_torch_and_writes_equal_bytes(compiled, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from dataset_culling.kubeflow.pipeline import compile_pipeline\n"
        f"compile_pipeline(Path({str(tmp_path / 'p.yaml')!r}), 'cpu')\n"
        "print(sorted({'torch', 'torchvision', 'cv2', 'av', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
    assert (tmp_path / "p.yaml").read_bytes() == compiled["cpu"].read_bytes()


def test_sources__only_the_kubeflow_package_imports_kfp():
    package = REPOSITORY / "components" / "dataset_culling"
    files = [file for file in package.rglob("*.py") if re.search(r"^\s*(import|from) kfp\b", file.read_text(), re.M)]
    # The engine with KFP's own container runner goes; until then it is the one exception.
    assert {file.relative_to(package).parts[0] for file in files if file.name != "containers.py"} == {"kubeflow"}
