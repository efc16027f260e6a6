"""Configuration of `python -m experiments.reproduce`: cameras, grids of cells, and the settings that all share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dataset_culling.config import StageConfig, did_you_mean, merge, parse_config, read_yaml
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.errors import ConfigError
from experiments.reproduce.arms import ARMS, VARIANTS

FOLDER = Path(__file__).parent / "presets"
OptResolution = Literal["off", "loss", "ap"]


class CameraSpec(StageConfig):
    """One camera: a simulated scene, or a video of your own."""

    scene: str = Field("", description="Scene of `culling simulate`; a day of it passes while the pool is filmed.")
    video: str = Field("", description="File or folder of real footage, instead of a scene.")
    group: Literal["surveillance", "sports"] = Field("surveillance", description="The row of Table 1 it counts in.")
    classes: tuple[str, ...] = Field(min_length=1, description="The camera's classes, as `culling run` takes them.")
    frames: int = Field(1200, ge=8, description="Frames to learn from; simulated cameras only.")
    heldout_frames: int = Field(300, ge=4, description="Frames after them to be judged on; simulated cameras only.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.scene) == bool(self.video):
            raise ValueError(f"a camera has a scene or a video, found '{self.scene}' and '{self.video}'")
        return self


class Grid(StageConfig):
    """Cells: every combination of what is listed. An arm without a size (full, untrained) is run once a seed."""

    cameras: tuple[str, ...] = Field((), description="Of the configuration; none named: all.")
    arms: tuple[str, ...] = Field(min_length=1, description=f"Of {', '.join(ARMS)}.")
    sizes: tuple[int, ...] = Field((128,), description="Frames trained on: the paper's n.")
    opt_resolution: tuple[OptResolution, ...] = Field(
        ("off",), description="off; loss, as in the paper; ap, judged by the teacher's labels."
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Of the lots drawn and of the training.")
    variants: tuple[str, ...] = Field(("plain",), description=f"Of {', '.join(VARIANTS)}.")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for what, names, known in (("arm", self.arms, ARMS), ("variant", self.variants, VARIANTS)):
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, list(known))
                    raise ValueError(f"no {what} is called '{name}'.{hint} Known: {', '.join(known)}")
        if any(size < 1 for size in self.sizes):
            raise ValueError(f"sizes must be at least 1, found {min(self.sizes)}")
        return self


class ReproduceConfig(StageConfig):
    """A whole reproduction."""

    title: str = Field(min_length=1, description="Use and limits of these figures; the first line of the page.")
    proves: bool = Field(True, description="false: the figures mean nothing, and no claim is marked by them.")
    judges: bool = Field(True, description="false: it is not about the paper's claims, and the page leaves them out.")
    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The detector that learns.")
    teacher: DetectorRef = Field(DetectorRef(name="tiny_teacher"), description="The detector that is believed.")
    cameras: dict[str, CameraSpec] = Field(min_length=1, description="By name.")
    grids: tuple[Grid, ...] = Field(min_length=1, description="Grids of cells to run; a cell in two grids runs once.")
    frames_per_second: float = Field(1.0, gt=0, description="Of the footage, and of what is sampled of it.")
    gap_s: float = Field(30.0, ge=0, description="Between the frames to learn from and those to be judged on.")
    pool_factor: float = Field(4.0, ge=1, description="Frames labelled for each one kept, by arms with two stages.")
    full_epochs: int = Field(
        0, ge=0, description="Passes of the full arm, where as many as the others' take too long; 0: as many."
    )
    project_frames: int = Field(86_400, ge=1, description="Frames that costs are projected to.")
    jobs: int = Field(0, ge=0, description="Cells side by side; 0: one for each core.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Sections of `culling run`'s settings, for all cells alike."
    )

    @model_validator(mode="after")
    def _grids_name_cameras(self) -> Self:
        for grid in self.grids:
            for name in grid.cameras:
                if name not in self.cameras:
                    raise ValueError(f"no camera is called '{name}'. Known: {', '.join(self.cameras)}")
        return self


def reproduce_presets() -> list[str]:
    """Every preset of `python -m experiments.reproduce`, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_config(
    preset: str,
    *,
    scenes: tuple[str, ...] = (),
    arms: tuple[str, ...] = (),
    sizes: tuple[int, ...] = (),
    seeds: tuple[int, ...] = (),
    opt_resolution: tuple[str, ...] = (),
    variants: tuple[str, ...] = (),
    over: dict[str, Any] | None = None,
) -> ReproduceConfig:
    """A preset, or a YAML file like one, with what was named on the command line.

    Arms, sizes, seeds, optResolution or variants that are named replace the preset's grids by one: every combination of
    what is named, the preset's own where nothing is. Naming only cameras keeps the grids.

    Args:
        preset: A name, or the path of a .yaml file.
        scenes: Names of the preset's cameras; the others are left out.
        arms: See above, as are sizes, seeds, opt_resolution and variants.
        over: Other keys, laid over the preset's.

    Raises:
        ConfigError: If the preset is unknown, or a name or value is invalid.
    """
    file = Path(preset) if preset.endswith((".yaml", ".yml")) else FOLDER / f"{preset}.yaml"
    if not preset.endswith((".yaml", ".yml")) and not file.is_file():
        known = reproduce_presets()
        raise ConfigError(
            f"--preset: no preset is called '{preset}'.{did_you_mean(preset, known)} Known: {', '.join(known)}."
        )
    values = merge(read_yaml(file), over or {})
    config = parse_config(ReproduceConfig, values, where=str(preset))
    if scenes:
        for name in scenes:
            if name not in config.cameras:
                known = list(config.cameras)
                raise ConfigError(
                    f"--scenes: no camera is called '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}."
                )
        grids = [
            grid.model_dump() | {"cameras": [name for name in grid.cameras if name in scenes]}
            for grid in config.grids
            if not grid.cameras or set(grid.cameras) & set(scenes)
        ]
        cameras = {name: config.cameras[name].model_dump() for name in config.cameras if name in scenes}
        config = parse_config(
            ReproduceConfig, config.model_dump() | {"grids": grids, "cameras": cameras}, where="--scenes"
        )
    named = {
        "arms": arms, "sizes": sizes, "seeds": seeds, "opt_resolution": opt_resolution, "variants": variants,
    }  # fmt: skip
    if any(named.values()):
        plain = {"variants": ("plain",), "opt_resolution": ("off",)}
        one = {key: value or plain.get(key) or _all(config, key) for key, value in named.items()}
        config = parse_config(ReproduceConfig, config.model_dump() | {"grids": [one]}, where="command line")
    return config


def _all(config: ReproduceConfig, key: str) -> tuple[Any, ...]:
    """Collect the values of a key over all grids, in their order."""
    return tuple(dict.fromkeys(value for grid in config.grids for value in getattr(grid, key)))
