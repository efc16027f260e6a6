"""List import cycles between files of the package; exit with 1 if there is one.

    python scripts/check_cycles.py

Imports inside functions and under TYPE_CHECKING count too. So do modules that are named by a string, such as the target
of importlib.import_module or of `python -m`, which no import linter sees.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import grimp
import networkx

PACKAGE = "dataset_culling"


def named_by_string(module: str, modules: frozenset[str]) -> set[str]:
    """Return the modules of the package that a string of `module` names, as "a.b" or "a.b:function"."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text.partition(":")[0] for text in texts if re.fullmatch(rf"{PACKAGE}(\.\w+)+(:\w+)?", text)}
    return (names & modules) - {module}


def cycles() -> list[list[str]]:
    """Return the strongly connected components of more than one file, largest first."""
    imports = grimp.build_graph(PACKAGE, cache_dir=None)
    graph = networkx.DiGraph()
    for module in imports.modules:
        targets = imports.find_modules_directly_imported_by(module) | named_by_string(
            module, frozenset(imports.modules)
        )
        graph.add_edges_from((module, target) for target in targets)
    found = [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]
    return sorted(found, key=len, reverse=True)


if __name__ == "__main__":
    found = cycles()
    for cycle in found:
        print(f"cycle of {len(cycle)} files: {', '.join(cycle)}")
    print(f"cycles: {len(found)}")
    sys.exit(bool(found))
