"""Run while the image is built: everything imports, nothing is in it that should not be. Not part of the package."""

import importlib
import importlib.util
import os
import shutil
from pathlib import Path

from dataset_culling.pipeline.graph import STAGES

for spec in STAGES.values():
    spec.load()
for module in ("av", "cv2", "minio", "onnxruntime", "openvino", "pycocotools.mask", "safetensors", "torchvision"):
    importlib.import_module(module)
for module in ("laptrack", "scipy", "pandas"):  # what linking objects over time needs
    importlib.import_module(module)

unwanted = [name for name in ("kfp", "pip", "pytest", "mypy", "triton") if importlib.util.find_spec(name)]
unwanted += [tool for tool in ("gcc", "cc", "clang", "make") if shutil.which(tool)]
if unwanted:
    raise SystemExit(f"image: expected only what stages need, found {', '.join(unwanted)}")
if os.getuid() == 0:
    raise SystemExit("image: expected an unprivileged user, found root")
for left in Path("/tmp").iterdir():  # caches that the imports above made
    if left.is_dir():
        shutil.rmtree(left)
    else:
        left.unlink()
print(f"{len(STAGES)} stages import; user {os.getuid()}; no compiler, no kfp")
