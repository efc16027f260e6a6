"""cameras.yaml: the fleet's cameras, checked before anything is asked of a cluster; errors name the line.

manifests/examples/cameras.yaml is an annotated one. `defaults` is laid under every camera.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from dataset_culling.config import StageConfig, did_you_mean, explain, merge
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.fleet.schedule import DAY_S
from dataset_culling.kubeflow.parameters import pipeline_arguments
from dataset_culling.pipeline.graph import STAGES, PipelineConfig
from dataset_culling.pipeline.presets import preset_names, read_preset

NAME = r"^[a-z0-9][a-z0-9-]{0,47}$"
DAY_FIELD = "{day}"
MOST_ERRORS = 8


def minutes_of(value: Any) -> Any:
    """A time of day, 2, "02" or "02:30", as minutes after midnight; -1 for what is none."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value * 60 if 0 <= value <= 23 else -1
    if isinstance(value, str) and (match := re.fullmatch(r"([01]?\d|2[0-3])(?::([0-5]\d))?", value.strip())):
        return int(match[1]) * 60 + int(match[2] or 0)
    return -1


TimeOfDay = Annotated[int, BeforeValidator(minutes_of)]


class Budget(StageConfig):
    """How much is labelled and trained on."""

    target: int = Field(256, ge=1, description="Most frames to train on (the paper's n).")
    pool: int = Field(1024, ge=1, description="Most frames that the teacher labels.")


class Gate(StageConfig):
    """When a new student takes over."""

    mode: Literal["auto", "dry-run", "manual"] = Field("auto", description="As promote_student.mode.")
    min_gain: float = Field(0.0, ge=0, le=1, description="Least gain of mAP@50, 0 to 1.")
    significant: bool = Field(True, description="As promote_student.significant.")
    max_fall: float = Field(0.05, ge=0, le=1, description="As promote_student.max_fall.")
    min_objects: int = Field(30, ge=0, description="As promote_student.min_objects.")
    check_set: Literal["if-there", "demand"] = Field("if-there", description="As promote_student.check_set.")


class Camera(StageConfig):
    """One camera, with the file's defaults laid under it."""

    name: str = Field(pattern=NAME, description="Its name in the registry: lower-case letters, digits, dashes.")
    source: tuple[str, ...] = Field(
        min_length=1, description="s3:// prefixes or objects of its footage, in time order."
    )
    time_zone: str = Field(description="IANA time zone, for example Europe/Berlin.")
    hour: TimeOfDay = Field(description='Local time of the nightly run: 2, or "02:30".')
    classes: tuple[str, ...] = Field((), description="What to detect; empty: the preset's.")
    preset: str = Field("default", description="Named settings that the camera starts from.")
    budget: Budget | None = Field(None, description="Frames to label and to train on; none: the preset's.")
    gate: Gate | None = Field(None, description="When the new student takes over; none: the preset's.")
    student: DetectorRef | None = Field(None, description="The detector that learns, and its weights.")
    teacher: DetectorRef | None = Field(None, description="The detector that is believed, and its weights.")
    paused: bool = Field(False, description="Whether its nights are off.")
    settings: dict[str, Any] = Field({}, description="Anything else of a run, as in a file for culling run --config.")

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _in_a_store(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for uri in value:
            if not uri.startswith(("s3://", "minio://")):
                raise ValueError(f"wanted s3://bucket/prefix, found '{uri}': a pod sees no other files")
        return value

    @field_validator("hour")
    @classmethod
    def _is_a_time(cls, value: int) -> int:
        if value < 0:
            raise ValueError('wanted an hour, 0 to 23, or a time such as "02:30"')
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
            raise ValueError(
                f"wanted an IANA time zone such as Europe/Berlin, found '{value}'.{did_you_mean(value, _zones())}"
            ) from None
        return value

    @field_validator("preset")
    @classmethod
    def _is_a_preset(cls, value: str) -> str:
        if value not in preset_names():
            known = preset_names()
            raise ValueError(f"no preset is called '{value}'.{did_you_mean(value, known)} Known: {', '.join(known)}")
        return value

    @field_validator("student", "teacher")
    @classmethod
    def _is_a_detector(cls, value: DetectorRef | None) -> DetectorRef | None:
        if value is not None and value.name not in DETECTORS and not value.name.endswith((".yaml", ".yml")):
            known = list(DETECTORS)
            raise ValueError(f"no detector is called '{value.name}'.{did_you_mean(value.name, known)}")
        return value


class PipelineSource(StageConfig):
    """Which pipeline runs: a compiled file, or what to compile."""

    file: str = Field("", description="A file that culling compile wrote, relative to cameras.yaml; empty: compile.")
    profile: str = Field("gpu", description="Profile to compile for: gpu, cpu, kind or a .yaml laid over one.")
    image: str = Field("", description="Image of the stages, by immutable tag or digest; empty: this version's own.")


class FleetFile(StageConfig):
    """All of cameras.yaml but the cameras themselves."""

    fleet: str = Field(pattern=NAME, description="The fleet's name: what carries it in the cluster is this file's.")
    pipeline: PipelineSource = Field(PipelineSource(), description="Which pipeline runs.")
    registry: str = Field("", description="s3:// prefix of the model registry; empty: the pipeline's.")
    namespace: str = Field("", description="Kubernetes namespace of the runs; empty: a single-user installation.")
    service_account: str = Field("", description="Kubernetes service account of the runs' pods; empty: KFP's own.")
    pipeline_root: str = Field("", description="Where KFP keeps artifacts; empty: the namespace's default.")
    spread_s: int = Field(
        3600, ge=0, lt=DAY_S, description="Seconds over which cameras of the same time are spread; 0: none."
    )
    revision: int = Field(
        1, ge=1, description="Raise it to make every schedule anew: after an upgrade of KFP, whose launcher they hold."
    )
    defaults: dict[str, Any] = Field({}, description="Laid under every camera.")
    cameras: list[dict[str, Any]] = Field([], description="The cameras.")


@dataclass(frozen=True, slots=True)
class FleetCamera:
    """A checked camera and the pipeline's parameters that it stands for."""

    camera: Camera
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A checked cameras.yaml."""

    path: Path
    file: FleetFile
    cameras: Mapping[str, FleetCamera]

    def select(self, names: tuple[str, ...]) -> dict[str, FleetCamera]:
        """The cameras of these names; all if none is named.

        Raises:
            ConfigError: If one is not in the file.
        """
        for name in names:
            if name not in self.cameras:
                raise ConfigError(
                    f"{self.path}: expected a camera called '{name}', found none."
                    f"{did_you_mean(name, list(self.cameras))} Add it, or mend the name."
                )
        return {name: self.cameras[name] for name in names or self.cameras}


def read_fleet(path: Path) -> Fleet:
    """Read and check cameras.yaml.

    Raises:
        ConfigError: In one line, every problem with its line in the file.
    """
    text = _text(path)
    root, values = _parse(path, text)
    try:
        file = FleetFile.model_validate(values)
    except ValidationError as error:
        raise _refusal(
            path, [(_line(root, each["loc"]), explain(FleetFile, each)) for each in error.errors()]
        ) from None
    problems: list[tuple[int, str]] = []
    cameras: dict[str, FleetCamera] = {}
    first_lines: dict[str, int] = {}
    known: dict[str, Mapping[str, Any]] = {}
    for row, own in enumerate(file.cameras):
        line = _line(root, ("cameras", row))
        label = f"camera '{own.get('name', row + 1)}'"
        try:
            camera = Camera.model_validate(merge(file.defaults, own))
            if camera.name in cameras:
                raise ConfigError(f"the name is taken by the camera of line {first_lines[camera.name]}")
            _days_do_not_meet(file, camera)
            arguments = _arguments(file, camera, known)
        except ValidationError as error:
            problems += [(_line_of(root, row, each["loc"]), f"{label}: {_said(each)}") for each in error.errors()]
            continue
        except ConfigError as error:
            key = error.key if isinstance(error, _CameraError) else "settings"
            problems.append((_line_of(root, row, (key,)), f"{label}: {error}"))
            continue
        cameras[camera.name], first_lines[camera.name] = FleetCamera(camera, arguments), line
    if problems:
        raise _refusal(path, problems)
    return Fleet(path, file, cameras)


def _said(problem: Any) -> str:
    where = [str(part) for part in problem["loc"]]
    if where[:1] in (["student"], ["teacher"]) and problem["type"] == "model_type":
        return f"'{where[0]}': wanted a mapping with a name, {{name: yolox_nano, weights: FILE}}"
    return explain(Camera, problem)


class _CameraError(ConfigError):
    """Wrong by what another key says; `key` is where."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _days_do_not_meet(file: FleetFile, camera: Camera) -> None:
    """Which day a night is for must not depend on where in the spread a camera's start falls."""
    if any(DAY_FIELD in uri for uri in camera.source) and camera.hour * 60 + file.spread_s > DAY_S:
        at = f"{camera.hour // 60:02}:{camera.hour % 60:02}"
        raise _CameraError(
            "hour",
            f"'hour': {at} and a spread of {file.spread_s} s reach over midnight, where {DAY_FIELD} is another one. "
            f"Start earlier or later, or spread over less",
        )


def _arguments(file: FleetFile, camera: Camera, known: dict[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The camera's pipeline parameters. Cameras with equal settings share the work: a fleet has few kinds."""
    over: dict[str, Any] = {"registry": file.registry} if file.registry else {}
    if camera.classes:
        over["classes"] = list(camera.classes)
    for role in ("student", "teacher"):
        if (ref := getattr(camera, role)) is not None:
            over[role] = ref.model_dump(mode="json")
    if camera.budget is not None:
        over["cull_precision"] = {"budget": camera.budget.target}
        over["cull_confidence"] = {"budget": camera.budget.pool}
    if camera.gate is not None:
        over["promote_student"] = camera.gate.model_dump(mode="json")
    over = merge(camera.settings, over)
    kind = json.dumps([camera.preset, over], sort_keys=True, default=str)
    if kind not in known:
        values = {**merge(read_preset(camera.preset), over), "camera": camera.name}
        try:
            settings = PipelineConfig.model_validate(values)
        except ValidationError as error:
            raise ConfigError("; ".join(explain(PipelineConfig, each) for each in error.errors())) from None
        known[kind] = pipeline_arguments(settings, STAGES)
    night = {"camera": camera.name, "footage": list(camera.source), "time_zone": camera.time_zone}
    return {**known[kind], **night}


def _zones() -> list[str]:
    from zoneinfo import available_timezones

    return sorted(available_timezones())


# --- the YAML with its lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a cameras.yaml, found {error.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file in UTF-8, found other bytes. Check the path.") from None


def _parse(path: Path, text: str) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """The file's tree, which knows lines, and its values.

    Raises:
        ConfigError: If it is no YAML, no mapping, or says a key twice.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: expected 'fleet:' and 'cameras:', found none. Start from the example.")
        if twice := _twice(node):
            raise _refusal(path, twice)
        _as_written(node)
        values = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "no YAML"
        raise ConfigError(f"{path}{line}: expected YAML, found {problem}. Mend the line.") from None
    finally:
        loader.dispose()
    if not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: expected words as keys. Mend the file.")
    return node, values


def _as_written(node: yaml.Node) -> None:
    """Leave 22:30 and 010 as texts, of which YAML 1.1 makes 1350 and 8; what takes a number refuses them then."""
    if isinstance(node, yaml.ScalarNode):
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and (":" in node.value or re.fullmatch(r"[-+]?0[0-9_]+", node.value)):
            node.tag = "tag:yaml.org,2002:str"
    elif isinstance(node, yaml.CollectionNode):
        for each in node.value:
            for inner in each if isinstance(each, tuple) else (each,):
                _as_written(inner)


def _twice(node: yaml.Node) -> list[tuple[int, str]]:
    """Keys that a mapping says twice, of which YAML would silently take the last."""
    found: list[tuple[int, str]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((key.start_mark.line + 1, f"'{key.value}' is there a second time"))
            if isinstance(key.value, str):
                seen.add(key.value)
            found += _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            found += _twice(each)
    return found


def _child(node: yaml.Node, part: int | str) -> tuple[int, yaml.Node] | None:
    """Line and value of a key or a row, if it is there."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _line(node: yaml.Node, loc: tuple[int | str, ...]) -> int:
    """The line of what `loc` leads to, or of the last part of the way that the file has."""
    line = node.start_mark.line + 1
    for part in loc:
        step = _child(node, part)
        if step is None:
            break
        line, node = step
    return int(line)


def _line_of(root: yaml.Node, row: int, loc: tuple[int | str, ...]) -> int:
    """The line of a camera's key: in the camera itself, else in the defaults, else the camera's first."""
    for base in (("cameras", row), ("defaults",)):
        node: yaml.Node | None = root
        for part in base:
            step = _child(node, part) if node is not None else None
            node = step[1] if step is not None else None
        if node is not None and loc and _child(node, loc[0]) is not None:
            return _line(node, loc)
    return _line(root, ("cameras", row))


def _refusal(path: Path, problems: list[tuple[int, str]]) -> ConfigError:
    problems = sorted(problems)
    listed = "; ".join(f"line {line}: {text}" for line, text in problems[:MOST_ERRORS])
    more = f"; and {len(problems) - MOST_ERRORS} more" if len(problems) > MOST_ERRORS else ""
    return ConfigError(f"{path}, {listed}{more}")


# --- pausing in the file


def set_paused(path: Path, names: tuple[str, ...], paused: bool) -> list[str]:
    """Write `paused:` of these cameras into the file, leaving all else of it, comments included, as it is.

    Args:
        path: cameras.yaml.
        names: Cameras that are in it.
        paused: What is to be said of them.

    Returns:
        The names of those for which the file changed.

    Raises:
        ConfigError: If the file cannot be changed so; it is then left alone.
        OutputError: If it cannot be written.
    """
    fleet = read_fleet(path)
    fleet.select(names)
    text = _text(path)
    root, _ = _parse(path, text)
    step = _child(root, "cameras")
    rows = step[1].value if step is not None else []
    edits: list[tuple[int, int, str]] = []
    word = "true" if paused else "false"
    changed = [name for name in names if fleet.cameras[name].camera.paused != paused]
    offsets = _line_offsets(text)
    for node in rows:
        name = _child(node, "name")
        if name is None or name[1].value not in changed:
            continue
        said = _child(node, "paused")
        if said is not None:
            edits.append((_at(offsets, said[1].start_mark), _at(offsets, said[1].end_mark), word))
        elif node.flow_style:
            begin = _at(offsets, node.start_mark) + 1
            edits.append((begin, begin, f"paused: {word}, "))
        else:
            first = node.value[0][0].start_mark
            begin = _at(offsets, first)
            edits.append((begin, begin, f"paused: {word}\n{' ' * first.column}"))
    for begin, end, put in sorted(edits, reverse=True):
        text = text[:begin] + put + text[end:]
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        now = read_fleet(beside)  # an alias or an anchor may have been hit: look before it counts
        if any(now.cameras[name].camera.paused != paused for name in names) or set(now.cameras) != set(fleet.cameras):
            raise ConfigError(f"{path}: expected to write 'paused: {word}', found no place for it. Write it by hand.")
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: expected to write 'paused: {word}', found {error.strerror}. Write it where the file comes from."
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return changed


def _line_offsets(text: str) -> list[int]:
    offsets = [0]
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    return offsets


def _at(offsets: list[int], mark: Any) -> int:
    return int(offsets[mark.line] + mark.column)
