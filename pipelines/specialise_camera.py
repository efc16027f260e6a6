"""Compile the pipeline for every profile, and each of its components, into pipelines/compiled: `make compile`.

The DAG itself is STAGES and WIRING in dataset_culling.pipeline.graph. For another cluster or image:

    culling compile pipeline.yaml --profile FILE.yaml --image REGISTRY/dataset-culling:TAG
"""

from __future__ import annotations

from pathlib import Path

from dataset_culling.kubeflow.pipeline import compile_components, compile_pipeline
from dataset_culling.kubeflow.resources import PROFILES

COMPILED = Path(__file__).parent / "compiled"

if __name__ == "__main__":
    for profile in PROFILES:
        compile_pipeline(COMPILED / f"{profile}.yaml", profile)
    compile_components(COMPILED / "components")
