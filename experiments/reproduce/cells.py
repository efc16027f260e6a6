"""A configuration's cells: one arm at one size on one camera, by one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataset_culling.errors import ConfigError
from experiments.reproduce.arms import ARMS, VARIANTS, Arm, Variant
from experiments.reproduce.config import ReproduceConfig


@dataclass(frozen=True, slots=True)
class Cell:
    """One training with its evaluation."""

    camera: str
    arm: str
    size: int  # 0: the arm takes what there is
    opt_resolution: str
    seed: int
    variant: str = "plain"

    @property
    def name(self) -> str:
        """Unique within the camera, and a folder's name."""
        size = f"-n{self.size}" if self.size else ""
        opt = "" if self.opt_resolution == "off" else f"-opt-{self.opt_resolution}"
        variant = "" if self.variant == "plain" else f"-{self.variant}"
        return f"{self.arm}{size}{opt}{variant}-s{self.seed}"

    @property
    def how(self) -> Arm:
        """The arm."""
        return ARMS[self.arm]

    @property
    def beyond(self) -> Variant:
        """The variant."""
        return VARIANTS[self.variant]

    @property
    def source(self) -> Cell | None:
        """The cell whose recorded subsets this one replays."""
        return replace(self, variant=self.beyond.replays) if self.beyond.replays else None


def cells_of(config: ReproduceConfig) -> tuple[Cell, ...]:
    """Every cell that is trained, once, in the order of the grids. Untrained figures come with any of them.

    Raises:
        ConfigError: If a camera has the untrained arm and no other: there is nothing to judge it beside. If a variant
            replays another one's subsets that is not run.
    """
    found: dict[Cell, None] = {}
    asked: set[str] = set()
    for grid in config.grids:
        for camera in grid.cameras or tuple(config.cameras):
            asked.add(camera)
            for arm in (ARMS[name] for name in grid.arms):
                if arm.trains:
                    found.update(
                        dict.fromkeys(
                            Cell(camera, arm.name, size, opt, seed, variant)
                            for seed in grid.seeds
                            for variant in (grid.variants if arm.sized else ("plain",))
                            for opt in (grid.opt_resolution if arm.sized else ("off",))
                            for size in (grid.sizes if arm.sized else (0,))
                        )
                    )
    if bare := sorted(asked - {cell.camera for cell in found}):
        raise ConfigError(
            f"{bare[0]}: expected an arm that is trained, found only untrained, which is judged beside one. Add "
            f"--arms random."
        )
    for cell in found:
        if cell.source is not None and cell.source not in found:
            raise ConfigError(
                f"{cell.camera} {cell.name}: the variant {cell.source.variant}, whose subsets it replays, is "
                f"missing beside it. Add it to the grid, or to --variants."
            )
    return tuple(found)
