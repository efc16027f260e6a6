"""cameras.yaml: the fleet's cameras, checked before anything is asked of a cluster; errors name the line.

manifests/examples/cameras.yaml is an annotated one. `defaults` is laid under every camera.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from ruamel.yaml.comments import CommentedMap

from dataset_culling.config import StageConfig, did_you_mean, explain, merge
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.evaluation.promotion_rule import PromotionBounds
from dataset_culling.fleet.lines import line_of, parse_with_lines, plain, read_text, refusal
from dataset_culling.fleet.schedule import DAY_S
from dataset_culling.kubeflow.parameters import pipeline_arguments
from dataset_culling.pipeline.graph import PipelineConfig
from dataset_culling.pipeline.presets import preset_names, read_preset
from dataset_culling.storage.atomic import replacing

NAME = r"^[a-z0-9][a-z0-9-]{0,47}$"
DAY_FIELD = "{day}"


def minutes_of(value: Any) -> Any:
    """Convert a time of day, 2, "02" or "02:30", to minutes after midnight; -1 for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value * 60 if 0 <= value <= 23 else -1
    if isinstance(value, str) and (match := re.fullmatch(r"([01]?\d|2[0-3])(?::([0-5]\d))?", value.strip())):
        return int(match[1]) * 60 + int(match[2] or 0)
    return -1


TimeOfDay = Annotated[int, BeforeValidator(minutes_of)]


class Budget(StageConfig):
    """Numbers of frames to label and to train on."""

    target: int = Field(256, ge=1, description="Most frames to train on (the paper's n).")
    pool: int = Field(1024, ge=1, description="Most frames that the teacher labels.")


class Gate(PromotionBounds):
    """The rule by which a new student takes over."""

    mode: Literal["auto", "dry-run", "manual"] = Field("auto", description="As promote_student.mode.")


class Camera(StageConfig):
    """One camera, with the file's defaults laid under it."""

    name: str = Field(pattern=NAME, description="Its name in the registry: lower-case letters, digits, dashes.")
    source: tuple[str, ...] = Field(
        min_length=1, description="s3:// prefixes or objects of its footage, in time order."
    )
    time_zone: str = Field(description="IANA time zone, for example Europe/Berlin.")
    hour: TimeOfDay = Field(description='Local time of the nightly run: 2, or "02:30".')
    classes: tuple[str, ...] = Field((), description="Classes to detect; empty: the preset's.")
    preset: str = Field("default", description="Named settings that the camera starts from.")
    budget: Budget | None = Field(None, description="Frames to label and to train on; none: the preset's.")
    gate: Gate | None = Field(None, description="Rule for the new student to take over; none: the preset's.")
    student: DetectorRef | None = Field(None, description="The detector that learns, and its weights.")
    teacher: DetectorRef | None = Field(None, description="The detector that labels, and its weights.")
    paused: bool = Field(False, description="Switches its nights off.")
    settings: dict[str, Any] = Field({}, description="Anything else of a run, as in a file for culling run --config.")

    @field_validator("source", mode="before")
    @classmethod
    def _check_source(cls, value: Any) -> Any:
        uris = [value] if isinstance(value, str) else value
        for uri in uris if isinstance(uris, list | tuple) else ():
            if isinstance(uri, str) and not uri.startswith(("s3://", "minio://")):
                raise ValueError(f"wanted s3://bucket/prefix, found '{uri}': a pod sees no other files")
        return uris

    @field_validator("hour")
    @classmethod
    def _check_hour(cls, value: int) -> int:
        if value < 0:
            raise ValueError('wanted an hour, 0 to 23, or a time such as "02:30"')
        return value

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError is one
            hint = did_you_mean(value, sorted(available_timezones()))
            raise ValueError(f"wanted an IANA time zone such as Europe/Berlin, found '{value}'.{hint}") from None
        return value

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, value: str) -> str:
        if value not in (known := preset_names()):
            raise ValueError(f"no preset is called '{value}'.{did_you_mean(value, known)} Known: {', '.join(known)}")
        return value

    @field_validator("student", "teacher")
    @classmethod
    def _check_detector(cls, value: DetectorRef | None) -> DetectorRef | None:
        if value is not None and value.name not in DETECTORS and not value.name.endswith((".yaml", ".yml")):
            raise ValueError(f"no detector is called '{value.name}'.{did_you_mean(value.name, list(DETECTORS))}")
        return value


class PipelineSource(StageConfig):
    """The pipeline to run: a compiled file, or what to compile."""

    file: str = Field("", description="A file that culling compile wrote, relative to cameras.yaml; empty: compile.")
    profile: str = Field("gpu", description="Profile to compile for: gpu, cpu, kind or a .yaml laid over one.")
    image: str = Field("", description="Image of the stages, by immutable tag or digest; empty: this version's own.")


class FleetFile(StageConfig):
    """cameras.yaml, its cameras not yet checked."""

    fleet: str = Field(pattern=NAME, description="The fleet's name; recurring runs marked with it belong to this file.")
    pipeline: PipelineSource = Field(PipelineSource(), description="The pipeline to run.")
    registry: str = Field("", description="s3:// prefix of the model registry; empty: the pipeline's.")
    namespace: str = Field("", description="Kubernetes namespace of the runs; empty: a single-user installation.")
    service_account: str = Field("", description="Kubernetes service account of the runs' pods; empty: KFP's own.")
    pipeline_root: str = Field("", description="KFP's place for artifacts; empty: the namespace's default.")
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
    """A checked camera and its arguments for the pipeline."""

    camera: Camera
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A checked cameras.yaml."""

    path: Path
    file: FleetFile
    cameras: Mapping[str, FleetCamera]

    def select(self, names: tuple[str, ...]) -> dict[str, FleetCamera]:
        """Return the cameras of these names, all without a name.

        Raises:
            ConfigError: If one is not in the file.
        """
        for name in names:
            if name not in self.cameras:
                raise ConfigError(
                    f"{self.path}: there is no camera called '{name}'."
                    f"{did_you_mean(name, list(self.cameras))} Add it, or fix the name."
                )
        return {name: self.cameras[name] for name in names or self.cameras}


def read_fleet(path: Path) -> Fleet:
    """Read and check cameras.yaml.

    Raises:
        ConfigError: All problems in one line, each with its line in the file.
    """
    root = parse_with_lines(path, read_text(path))
    try:
        file = FleetFile.model_validate(plain(root))
    except ValidationError as error:
        raise refusal(
            path, [(line_of(root, each["loc"]), explain(FleetFile, each)) for each in error.errors()]
        ) from None
    problems: list[tuple[int, str]] = []
    cameras: dict[str, FleetCamera] = {}
    known: dict[str, Mapping[str, Any]] = {}
    rows: dict[str, int] = {}
    for row, own in enumerate(file.cameras):

        def refuse(key: tuple[int | str, ...], problem: str, row: int = row, own: Mapping[str, Any] = own) -> None:
            problems.append((_camera_line(root, row, key), f"camera '{own.get('name', row + 1)}': {problem}"))

        try:
            camera = Camera.model_validate(merge(file.defaults, own))
            if camera.name in rows:
                first = line_of(root, ("cameras", rows[camera.name]))
                refuse(("name",), f"the name is taken by the camera of line {first}")
            elif any(DAY_FIELD in uri for uri in camera.source) and camera.hour * 60 + file.spread_s > DAY_S:
                # The day of a night must not depend on the camera's place in the spread.
                at = f"{camera.hour // 60:02}:{camera.hour % 60:02}"
                refuse(
                    ("hour",),
                    f"'hour': {at} and a spread of {file.spread_s} s reach over midnight, where {DAY_FIELD} changes. "
                    f"Start earlier or later, or spread over less",
                )
            else:
                cameras[camera.name], rows[camera.name] = FleetCamera(camera, _arguments(file, camera, known)), row
        except ValidationError as error:
            for each in error.errors():
                refuse(each["loc"], _explain(each))
        except ConfigError as error:
            refuse(("settings",), str(error))
    if problems:
        raise refusal(path, problems)
    return Fleet(path, file, cameras)


def _explain(problem: Any) -> str:
    where = [str(part) for part in problem["loc"]]
    if where[:1] in (["student"], ["teacher"]) and problem["type"] == "model_type":
        return f"'{where[0]}': wanted a mapping with a name, {{name: yolox_nano, weights: FILE}}"
    return explain(Camera, problem)


def _camera_line(root: CommentedMap, row: int, key: tuple[int | str, ...]) -> int:
    """Return the line of a camera's key: in the camera itself, else in the defaults, else the camera's first."""
    for node in (root["cameras"][row], root.get("defaults")):
        if isinstance(node, CommentedMap) and key and key[0] in (node.lc.data or {}):
            return line_of(node, key)
    return line_of(root, ("cameras", row))


def _arguments(file: FleetFile, camera: Camera, known: dict[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Build the camera's pipeline arguments. Cameras with equal settings share the work: a fleet has few kinds."""
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
        known[kind] = pipeline_arguments(settings)
    night = {"camera": camera.name, "footage": list(camera.source), "time_zone": camera.time_zone}
    return {**known[kind], **night}


def set_paused(path: Path, names: tuple[str, ...], paused: bool) -> list[str]:
    """Write `paused:` of these cameras into cameras.yaml, and leave the rest of it, comments included, as it is.

    Returns:
        The names of those for which the file changed.

    Raises:
        ConfigError: If the file cannot be changed so; it then stays as it was.
        OutputError: If it cannot be written.
    """
    fleet = read_fleet(path)
    fleet.select(names)
    text = read_text(path)
    lines, word = text.splitlines(keepends=True), "true" if paused else "false"
    changed = [name for name in dict.fromkeys(names) if fleet.cameras[name].camera.paused != paused]
    for row in reversed(parse_with_lines(path, text)["cameras"]):  # from the end, as an edit moves what comes after it
        if row["name"] not in changed:
            continue
        if "paused" in row.lc.data:
            line, column = row.lc.value("paused")
            edited = re.sub(r"^[^\s,}]+", word, lines[line][column:])
        else:
            line, column, *_ = min(row.lc.data.values())
            separator = ", " if row.fa.flow_style() else f"\n{' ' * column}"
            edited = f"paused: {word}{separator}{lines[line][column:]}"
        lines[line] = lines[line][:column] + edited
    try:
        with replacing(path) as part:
            part.write_text("".join(lines), encoding="utf-8")
            now = {name: each.camera.paused for name, each in read_fleet(part).cameras.items()}
            if now != {name: paused if name in names else each.camera.paused for name, each in fleet.cameras.items()}:
                raise ConfigError("another camera would change")
    except ConfigError:  # an anchor stands where the value was expected
        raise ConfigError(f"{path}: 'paused: {word}' cannot be written in place. Write it by hand.") from None
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write 'paused: {word}': {error.strerror}. Write it where the file comes from."
        ) from None
    return changed
