"""The manifests, rendered as kubectl does and checked against the schemas of Kubernetes, offline."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from dataset_culling.kubeflow.resources import PROFILES, USER_ID

MANIFESTS = REPOSITORY / "manifests"
OVERLAYS = {"cluster": "culling", "kind": "kubeflow"}
CUSTOM_KINDS = {"PrometheusRule", "ExternalSecret"}
"""Kinds of operators; their schemas are not at hand."""


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rendered(overlay: str) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", str(MANIFESTS / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(rendered: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in rendered if each["kind"] == kind}


def test_overlay__every_object_is_valid(rendered):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    checked = 0
    for each in rendered:
        if each["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
            checked += 1
    assert checked >= 9


def test_overlay__misspelt_field_would_be_seen(rendered):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    policy = next(iter(of_kind(rendered, "NetworkPolicy").values()))
    broken = {**policy, "spec": {**policy["spec"], "podSelectr": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="podSelectr"):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_overlay__objects_lie_in_one_namespace(rendered, overlay):
    cluster_wide = {"Namespace", "PriorityClass"}
    homes = {each["metadata"].get("namespace") for each in rendered if each["kind"] not in cluster_wide}
    assert homes == {OVERLAYS[overlay]}
    for binding in of_kind(rendered, "RoleBinding").values():
        assert [subject["namespace"] for subject in binding["subjects"]] == [OVERLAYS[overlay]]


def test_overlay__no_secret_in_clear(rendered):
    assert not of_kind(rendered, "Secret")
    template = yaml.safe_load((MANIFESTS / "examples" / "store-secret.yaml").read_text())
    assert set(template["stringData"].values()) == {"REPLACE_ME"}


def test_overlay__least_rights(rendered):
    assert not [each for each in rendered if each["kind"].startswith("ClusterRole")]
    for role in of_kind(rendered, "Role").values():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if "secrets" in rule["resources"]:
                assert rule["resourceNames"]
                assert rule["verbs"] == ["get"]
    runner = of_kind(rendered, "Role")["culling-runner"]["rules"]
    assert not {"pods/exec", "persistentvolumeclaims"} & {r for rule in runner for r in rule["resources"]}


def test_overlay__what_the_pipeline_names_is_there(rendered, overlay):
    """Names that the compiled pipeline's pods use: claims must exist, or the pods never start."""
    for name in {"cluster": ("gpu", "cpu"), "kind": ("kind",)}[overlay]:
        profile = PROFILES[name]
        assert profile.cache_claim in of_kind(rendered, "PersistentVolumeClaim")
        settings = of_kind(rendered, "ConfigMap")[profile.store_settings]["data"]
        assert {"endpoint", "region"} <= set(settings)
        readable = [
            rule for rule in of_kind(rendered, "Role")["culling-runner"]["rules"] if "secrets" in rule["resources"]
        ]
        assert profile.store_secret in readable[0]["resourceNames"]


def test_overlay__policy_is_for_the_pipelines_pods(rendered):
    compiled = yaml.safe_load_all((REPOSITORY / "pipelines" / "compiled" / "gpu.yaml").read_text())
    executors = list(compiled)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    policy = of_kind(rendered, "NetworkPolicy")["culling-stages"]["spec"]
    assert {"Ingress", "Egress"} == set(policy["policyTypes"])
    for executor in executors.values():
        assert policy["podSelector"]["matchLabels"].items() <= executor["podMetadata"]["labels"].items()
        assert executor["securityContext"] == {
            "runAsUser": str(USER_ID),
            "runAsGroup": str(USER_ID),
            "runAsNonRoot": True,
        }


def test_cluster__namespace_enforces_restricted():
    namespace = yaml.safe_load((MANIFESTS / "overlays" / "cluster" / "namespace.yaml").read_text())
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_cluster__nights_give_way_to_submitted_runs_and_both_to_others():
    overlay = MANIFESTS / "overlays" / "cluster"
    classes = {each["metadata"]["name"]: each for each in yaml.safe_load_all((overlay / "priority.yaml").read_text())}
    nightly, submitted = classes["culling-nightly"], classes["culling-submitted"]
    assert nightly["value"] < submitted["value"] < 0  # 0: whoever has no class
    assert (nightly["preemptionPolicy"], submitted["preemptionPolicy"]) == ("Never", "PreemptLowerPriority")
    assert not nightly["globalDefault"]
    assert not submitted["globalDefault"]
    quotas = [
        each for each in yaml.safe_load_all((overlay / "quota.yaml").read_text()) if each["kind"] == "ResourceQuota"
    ]
    all_of_it, of_nights = quotas
    (scope,) = of_nights["spec"]["scopeSelector"]["matchExpressions"]
    assert (scope["scopeName"], scope["values"]) == ("PriorityClass", ["culling-nightly"])
    gpus = "requests.nvidia.com/gpu"
    assert int(of_nights["spec"]["hard"][gpus]) < int(all_of_it["spec"]["hard"][gpus])


def test_priorities__policy_is_valid_and_names_the_classes(tmp_path):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    folder = MANIFESTS / "components" / "priorities"
    policy, binding = yaml.safe_load_all((folder / "workflows.yaml").read_text())
    for each in (policy, binding):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    expression = policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    classes = yaml.safe_load_all((MANIFESTS / "overlays" / "cluster" / "priority.yaml").read_text())
    assert set(re.findall(r'"(culling-[a-z]+)"', expression)) == {each["metadata"]["name"] for each in classes}
    assert [expression.count(one) for one in "[]{}"] == [1, 1, 1, 1]
    namespace = yaml.safe_load((MANIFESTS / "overlays" / "cluster" / "namespace.yaml").read_text())["metadata"]["name"]
    assert binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": namespace
    }


def test_manifests__no_remote_base_and_no_image():
    for file in sorted(MANIFESTS.rglob("*.yaml")):
        text = re.sub(r"#.*", "", file.read_text())
        for value in re.findall(r"^\s*-\s+(\S*(?:github\.com|\?ref=)\S*)", text, flags=re.MULTILINE):
            raise AssertionError(f"{file}: {value} would have to be fetched")
        assert "image:" not in text
