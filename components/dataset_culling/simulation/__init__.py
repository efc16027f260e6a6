"""A simulated fixed camera: renders a procedural scene at any time, with the true boxes."""

from dataset_culling.simulation.camera import SimulatedCamera, SimulatedFrame
from dataset_culling.simulation.config import CLASS_NAMES, SCENES, SceneConfig, demo_scene, random_scene
from dataset_culling.simulation.video import write_video

__all__ = [
    "CLASS_NAMES",
    "SCENES",
    "SceneConfig",
    "SimulatedCamera",
    "SimulatedFrame",
    "demo_scene",
    "random_scene",
    "write_video",
]
