"""What infra/ ships for containers: pinned, not root, on loopback, and with no more rights than needed."""

import json
import re
from pathlib import Path

import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text())
MANIFESTS = [
    document
    for name in yaml.safe_load((INFRA / "kubernetes/kustomization.yaml").read_text())["resources"]
    for document in yaml.safe_load_all((INFRA / "kubernetes" / name).read_text())
]
PODS = {
    m["metadata"]["name"]: m["spec"]["template"]["spec"]
    for m in MANIFESTS
    if m["kind"] in {"Deployment", "Job"}
}


def test_compose_publishes_on_loopback_only_and_pins_what_it_pulls():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        tag = service["image"].partition(":")[2]
        assert "build" in service or re.search(r"\d{2}", tag), service["image"]


def test_compose_holds_no_password():
    text = (INFRA / "compose.yaml").read_text()
    secrets = re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY|AUTH_STRING): +(\S+)", text)
    assert len(secrets) == 6
    assert all(value.strip('"').removeprefix("admin:").startswith("${") for value in secrets)


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_both_pools_have_a_worker_in_kubernetes(pool: str):
    (container,) = PODS[f"worker-{pool}"]["containers"]
    assert container["command"][3:5] == ["--pool", pool]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (pool == "gpu")


@pytest.mark.parametrize("name", PODS)
def test_no_pod_runs_as_root_or_may_become_it(name: str):
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_image_is_not_root_takes_the_pins_and_leaves_out_what_tests_need():
    text = (INFRA / "docker/Dockerfile").read_text()
    final = text.split("AS common")[1]
    assert "USER 10001" in final
    assert "-c constraints.txt '.[service]'" in text
    assert "dev" not in re.sub(r"#.*", "", text)


def test_the_storage_policy_allows_what_a_store_does_under_its_own_names_only():
    policy = json.loads((INFRA / "s3/policy.json").read_text())
    allowed = {action: s["Resource"] for s in policy["Statement"] for action in s["Action"]}
    assert {s["Effect"] for s in policy["Statement"]} == {"Allow"}
    assert set(allowed) == {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    }
    own = ["arn:aws:s3:::BUCKET/PREFIX/*", "arn:aws:s3:::BUCKET/PREFIX-artifacts/*"]
    assert all(allowed[action] == own for action in allowed if action != "s3:ListBucket")
    (listing,) = [s for s in policy["Statement"] if "s3:ListBucket" in s["Action"]]
    assert all(p.startswith("PREFIX") for p in listing["Condition"]["StringLike"]["s3:prefix"])
