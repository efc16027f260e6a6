"""Import torchvision without torch's compiler, which takes longer than all else that a stage imports."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_torchvision() -> None:
    """Import torchvision; where torch._dynamo is not loaded yet, leave it to be loaded when somebody compiles.

    `torchvision.ops.roi_align` takes one function, `is_compile_supported`, from `torch._dynamo.utils`, and with it the
    compiler and sympy: five of the nine seconds that importing torch and torchvision take. It calls the function only
    for deterministic CUDA. So while torchvision is imported a stand-in is there, which asks the real one when called.
    """
    if "torchvision" in sys.modules or "torch._dynamo" in sys.modules:
        return
    import torch  # noqa: F401 - first, so that nothing of torch itself meets the stand-in

    if "torch._dynamo" in sys.modules:
        return

    def is_compile_supported(*arguments: Any) -> Any:
        return importlib.import_module("torch._dynamo.utils").is_compile_supported(*arguments)

    package, utils = ModuleType("torch._dynamo"), ModuleType("torch._dynamo.utils")
    package.utils = utils  # type: ignore[attr-defined]
    utils.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"] = package, utils
    try:
        import torchvision
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # it wants more of the compiler than we know of: imported as usual, below
    finally:
        del sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"]
    import torchvision  # noqa: F401
