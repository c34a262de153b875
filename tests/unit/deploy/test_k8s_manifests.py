"""The manifests in k8s/: valid, hardened, and saying what the failure model needs them to say."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomize import KustomizeError, json_patch, render
from manifests import load_one, pod_specs, problems

ROOT = Path(__file__).resolve().parents[3]
K8S = ROOT / "k8s"
OVERLAYS = ["overlays/local", "overlays/s3", "overlays/gpu", "overlays/spot", "single-pod"]
RUN_AS = 10001  # the Dockerfile's USER

Manifest = dict[str, Any]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def ray_job(overlay: str) -> Manifest:
    return only(render(K8S / "overlays" / overlay), "RayJob")


def job() -> Manifest:
    return only(render(K8S / "single-pod"), "Job")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay: str):
    assert [line for manifest in render(K8S / overlay) for line in problems(manifest)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_the_same(overlay: str):
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(K8S / overlay)], capture_output=True, text=True, check=True)

    def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
        return {(m["kind"], m["metadata"]["name"]): m for m in manifests}

    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(render(K8S / overlay))


# Each pod, wherever it stands.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_rights_that_training_does_not_need(overlay: str):
    for pod in (spec for manifest in render(K8S / overlay) for spec in pod_specs(manifest).values()):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == security["fsGroup"] == RUN_AS
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_has_its_memory_to_itself_and_shared_memory_within_it(overlay: str):
    for pod in (spec for manifest in render(K8S / overlay) for spec in pod_specs(manifest).values()):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
            assert "emptyDir" in mounts["/tmp"]  # the root is read-only; Ray and tempfile write here
            assert container["resources"]["requests"] == container["resources"]["limits"]
            shared, memory = mounts["/dev/shm"]["emptyDir"]["sizeLimit"], container["resources"]["limits"]["memory"]
            assert int(shared.removesuffix("Gi")) < int(memory.removesuffix("Gi"))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_has_a_version(overlay: str):
    for pod in (spec for manifest in render(K8S / overlay) for spec in pod_specs(manifest).values()):
        for container in pod["containers"]:
            assert re.fullmatch(r"(registry\.example\.com/)?disttrain:\d+\.\d+\.\d+(-cuda)?", container["image"])
            assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize("overlay", ["local", "s3", "gpu", "spot"])
def test_a_node_that_is_drained_is_down_before_its_pod_is_killed(overlay: str):
    for pod in pod_specs(ray_job(overlay)).values():
        environment = {item["name"]: item.get("value") for item in pod["containers"][0]["env"]}
        assert int(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) + 10 <= pod["terminationGracePeriodSeconds"]
        assert "lifecycle" not in pod["containers"][0]  # `preStop: ray stop` kills the actors at once


# The Ray job.


def test_the_head_and_the_driver_have_one_life_and_a_new_cluster_after_it():
    spec = ray_job("s3")["spec"]
    assert spec["submissionMode"] == "SidecarMode"
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_no_worker_lives_on_the_head_and_strangers_cannot_join():
    cluster = ray_job("s3")["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["authOptions"] == {"mode": "token"}


def test_the_ray_version_is_the_images():
    declared = re.search(r"^ARG RAY_VERSION=(\S+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert declared is not None
    assert ray_job("s3")["spec"]["rayClusterSpec"]["rayVersion"] == declared[1]


def test_the_network_policy_selects_the_pods_of_the_run():
    manifests = render(K8S / "overlays" / "s3")
    wanted = only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    cluster = only(manifests, "RayJob")["spec"]["rayClusterSpec"]
    for template in [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]:
        labels = template["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        assert "app.kubernetes.io/name" not in labels  # the operator's own; its Service selects the head by it


def option(command: str, name: str) -> str:
    words = command.split()
    return words[words.index(name) + 1]


def run_dir(command: str) -> str:
    return option(command, "--run-dir")


@pytest.mark.parametrize("overlay", ["local", "s3", "gpu", "spot"])
def test_each_worker_has_a_pod_to_itself(overlay: str):
    spec = ray_job(overlay)["spec"]
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert option(spec["entrypoint"], "--workers") == str(group["replicas"])
    assert option(spec["entrypoint"], "--cpus-per-worker") == limits["cpu"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]


def test_a_worker_asks_for_the_gpu_of_its_pod():
    limits = pod_specs(ray_job("gpu"))["workers"]["containers"][0]["resources"]["limits"]
    assert option(ray_job("gpu")["spec"]["entrypoint"], "--gpus-per-worker") == limits["nvidia.com/gpu"]
    assert "--gpus-per-worker" not in ray_job("s3")["spec"]["entrypoint"]


def test_the_overlays_with_a_bucket_agree_on_it():
    assert len({run_dir(ray_job(overlay)["spec"]["entrypoint"]) for overlay in ("s3", "gpu", "spot")}) == 1


def test_the_local_run_directory_is_on_the_claim_in_every_pod():
    manifests = render(K8S / "overlays" / "local")
    claim, spec = only(manifests, "PersistentVolumeClaim"), only(manifests, "RayJob")
    for pod in pod_specs(spec).values():
        (volume,) = [v["name"] for v in pod["volumes"] if v.get("persistentVolumeClaim") == {"claimName": claim["metadata"]["name"]}]
        (path,) = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume]
        assert run_dir(spec["spec"]["entrypoint"]).startswith(path + "/")


@pytest.mark.parametrize("overlay", ["s3", "gpu", "spot"])
def test_a_run_in_a_bucket_needs_no_volume(overlay: str):
    manifests = render(K8S / "overlays" / overlay)
    assert run_dir(only(manifests, "RayJob")["spec"]["entrypoint"]).startswith("s3://")
    assert "PersistentVolumeClaim" not in {manifest["kind"] for manifest in manifests}
    assert "eks.amazonaws.com/role-arn" in only(manifests, "ServiceAccount")["metadata"]["annotations"]
    assert all(pod["serviceAccountName"] == "disttrain" for pod in pod_specs(only(manifests, "RayJob")).values())


def tolerated(pod: Manifest) -> set[str]:
    return {toleration["key"] for toleration in pod.get("tolerations", [])}


def test_a_gpu_goes_to_each_worker_and_none_to_the_head():
    pods = pod_specs(ray_job("gpu"))
    assert pods["workers"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in pods["head"]["containers"][0]["resources"]["limits"]
    assert tolerated(pods["workers"]) == {"nvidia.com/gpu"}
    assert all(pod["containers"][0]["image"].endswith("-cuda") for pod in pods.values())


def test_workers_live_on_spot_machines_and_the_head_does_not():
    pods = pod_specs(ray_job("spot"))
    assert pods["workers"]["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert tolerated(pods["workers"]) == {"cloud.google.com/gke-spot"}
    assert "nodeSelector" not in pods["head"] and tolerated(pods["head"]) == set()


def test_gpu_and_spot_go_together(tmp_path: Path):
    shutil.copytree(K8S, tmp_path / "k8s")
    page = load_one(K8S / "overlays/spot/kustomization.yaml")
    page["components"].append("../../components/gpu")
    (tmp_path / "k8s/overlays/spot/kustomization.yaml").write_text(yaml.safe_dump(page))
    manifest = only(render(tmp_path / "k8s/overlays/spot"), "RayJob")
    assert problems(manifest) == []
    assert tolerated(pod_specs(manifest)["workers"]) == {"cloud.google.com/gke-spot", "nvidia.com/gpu"}


# The single pod.


def verdict(policy: Manifest, exit_code: int, *, disrupted: bool = False) -> str:
    """What Kubernetes does after a pod failed so: the first rule that matches, else Count (against backoffLimit)."""
    for rule in policy["rules"]:
        conditions, codes = rule.get("onPodConditions", []), rule.get("onExitCodes")
        if disrupted and any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in conditions):
            return str(rule["action"])
        if codes and codes["operator"] == "In" and exit_code in codes["values"]:
            return str(rule["action"])
    return "Count"


@pytest.mark.parametrize(
    ("exit_code", "expected"), [(1, "FailJob"), (2, "FailJob"), (3, "Count"), (130, "Count"), (137, "Count"), (143, "Count")]
)
def test_the_exit_code_says_whether_the_job_tries_again(exit_code: int, expected: str):
    spec = job()["spec"]
    assert verdict(spec["podFailurePolicy"], exit_code) == expected
    assert verdict(spec["podFailurePolicy"], exit_code, disrupted=True) == "Ignore"
    assert spec["backoffLimit"] > 0


def test_the_policy_names_the_container_and_the_pod_is_not_restarted_in_place():
    spec = job()["spec"]
    (codes,) = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["containerName"] in {container["name"] for container in spec["template"]["spec"]["containers"]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_two_pods_never_write_to_one_run_directory():
    assert job()["spec"]["podReplacementPolicy"] == "Failed"
    assert job()["spec"].get("parallelism", 1) == 1


def test_the_next_pod_finds_the_run_directory_of_the_last():
    manifests = render(K8S / "single-pod")
    pod = only(manifests, "Job")["spec"]["template"]["spec"]
    (volume,) = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"]["claimName"] == only(manifests, "PersistentVolumeClaim")["metadata"]["name"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
    assert run_dir(" ".join(pod["containers"][0]["args"])).startswith(mount["mountPath"] + "/")


# Broken copies: the checks above are worth what they refuse.


def break_ray_job(change: Callable[[Manifest], object]) -> list[str]:
    manifest = copy.deepcopy(ray_job("s3"))
    change(manifest["spec"])
    return problems(manifest)


def break_job(change: Callable[[Manifest], object]) -> list[str]:
    manifest = copy.deepcopy(job())
    change(manifest["spec"])
    return problems(manifest)


def test_a_wrong_type_is_refused():
    assert "backoffLimit" in break_ray_job(lambda spec: spec.update(backoffLimit="many"))[0]
    assert "completions" in break_job(lambda spec: spec.update(completions="three"))[0]


def test_an_unknown_field_is_refused():
    assert "backofLimit" in break_ray_job(lambda spec: spec.update(backofLimit=2))[0]
    assert "resoures" in break_job(lambda spec: spec["template"]["spec"]["containers"][0].update(resoures={}))[0]


def test_an_unknown_kind_is_refused():
    assert problems({"apiVersion": "ray.io/v1", "kind": "RayJop", "metadata": {"name": "x"}}) == [
        "no schema for ray.io/v1 RayJop here or in Kubernetes 1.34"
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda spec: spec.update(submissionMode="SidecarMod"), "no mode SidecarMod"),
        (lambda spec: spec.update(submitterConfig={"backoffLimit": 1}), "not in SidecarMode"),
        (lambda spec: spec.update(shutdownAfterJobFinishes=False), "needs shutdownAfterJobFinishes"),
        (lambda spec: spec["rayClusterSpec"].update(rayVersion="2.51.0"), "2.52 or newer"),
        (lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(minReplicas=3), "minReplicas > maxReplicas"),
        (lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].update(restartPolicy="Always"), "must be Never"),
    ],
)
def test_what_the_operator_would_refuse_is_refused(change: Callable[[Manifest], object], complaint: str):
    (found,) = break_ray_job(change)
    assert complaint in found


def test_a_container_name_used_twice_is_refused():
    def twice(spec: Manifest) -> None:
        containers = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
        containers.append(dict(containers[0]))

    assert break_ray_job(twice) == [".spec.rayClusterSpec.headGroupSpec.template.spec.containers: ray-head is there twice"]


def test_a_key_written_twice_is_refused(tmp_path: Path):
    (tmp_path / "twice.yaml").write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(yaml.YAMLError, match="'a' is there twice"):
        load_one(tmp_path / "twice.yaml")


def test_a_patch_that_reaches_nothing_is_refused(tmp_path: Path):
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\npatches: [{target: {kind: RayJob}, path: patch.yaml}]\n")
    (tmp_path / "patch.yaml").write_text("- {op: replace, path: /spec/x, value: 1}\n")
    with pytest.raises(KustomizeError, match="matches nothing"):
        render(tmp_path)
    with pytest.raises(KustomizeError, match="no such place"):
        json_patch({"spec": {}}, {"op": "replace", "path": "/spec/x", "value": 1})


def test_a_feature_that_the_renderer_does_not_know_is_refused(tmp_path: Path):
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamePrefix: x-\n")
    with pytest.raises(KustomizeError, match="namePrefix"):
        render(tmp_path)


def test_the_page_names_only_folders_that_exist():
    named = re.findall(r"-k (k8s/\S+)", (K8S / "README.md").read_text(encoding="utf-8"))
    assert {f"k8s/{overlay}" for overlay in OVERLAYS} <= set(named)
    assert all((ROOT / folder / "kustomization.yaml").is_file() for folder in named)
