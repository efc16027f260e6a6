"""Import torchvision without torch's compiler, which takes longer than everything else that a stage imports."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_torchvision() -> None:
    """Import torchvision; leave torch._dynamo to be loaded by the first caller that compiles.

    `torchvision.ops.roi_align` imports one function from `torch._dynamo.utils`, and with it the compiler and sympy: 4.5
    of the 8 seconds that importing torch and torchvision take. It calls it only for deterministic CUDA. A stand-in that
    loads the real one when called is in `sys.modules` during the import and nowhere else. DECISIONS.md has the figures.
    """
    import torch  # noqa: F401 - first, so that no part of torch itself meets the stand-in

    if "torchvision" in sys.modules or "torch._dynamo" in sys.modules:
        return

    def is_compile_supported(*arguments: Any) -> Any:
        return importlib.import_module("torch._dynamo.utils").is_compile_supported(*arguments)

    utils = ModuleType("torch._dynamo.utils")
    utils.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    stand_ins = {"torch._dynamo": ModuleType("torch._dynamo"), "torch._dynamo.utils": utils}
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("torchvision")
    except (ImportError, AttributeError):  # it needs more of the compiler: imported as usual by the next import
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    finally:
        for name in stand_ins:
            del sys.modules[name]
