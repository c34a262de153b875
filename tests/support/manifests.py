"""Checks Kubernetes manifests without a cluster: schemas, names used twice, and what KubeRay's operator refuses though schemas allow it.

As with `kubectl apply --validate=strict`, an unknown field is an error. Not checked: admission, CEL rules, references between objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.34"
SCHEMAS = Path(__file__).resolve().parents[1] / "data" / "schemas"


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key that a mapping has twice is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_all(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return [document for document in yaml.load_all(path.read_text(encoding="utf-8"), StrictLoader) if document is not None]


def load_one(path: Path) -> Any:
    """The one document of a YAML file."""
    (document,) = load_all(path)
    return document


def problems(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest, one line each; empty when nothing is."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    path = SCHEMAS / f"{manifest['kind'].lower()}-{group}-{version}.json"
    if not path.exists():
        return _built_in(manifest)
    schema = json.loads(path.read_text(encoding="utf-8"))
    found = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in jsonschema.Draft7Validator(schema).iter_errors(manifest)]
    found = found or list(_twice(manifest, schema))
    if not found and manifest["kind"] == "RayJob":
        found = list(_ray_job_rules(manifest))
    return found


def pod_specs(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates' specs of a Job or RayJob by their place: `train`, or `head` and each worker group's name."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Job":
        return {"train": spec["template"]["spec"]}
    if manifest["kind"] == "RayJob":
        cluster = spec["rayClusterSpec"]
        workers = {group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]}
        return {"head": cluster["headGroupSpec"]["template"]["spec"], **workers}
    return {}


def _built_in(manifest: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"no schema for {manifest['apiVersion']} {manifest['kind']} here or in Kubernetes {KUBERNETES}"]
    return []


def _twice(value: Any, schema: dict[str, Any], where: str = "") -> Iterator[str]:
    """Entries that share their key in a list that Kubernetes keeps as a map, such as two containers of one name."""
    if isinstance(value, dict):
        for name, child in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            yield from _twice(child, below if isinstance(below, dict) else {}, f"{where}.{name}")
    elif isinstance(value, list):
        names = schema.get("x-kubernetes-list-map-keys", [])
        seen = set()
        for item in value:
            key = tuple(str(item.get(name)) for name in names) if isinstance(item, dict) else ()
            if key and key in seen:
                yield f"{where}: {', '.join(key)} is there twice"
            seen.add(key)
            yield from _twice(item, schema.get("items", {}), where)


def _ray_job_rules(manifest: dict[str, Any]) -> Iterator[str]:
    """From KubeRay v1.7.0: ray-operator/controllers/ray/utils/validation.go."""
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    cluster, mode = spec.get("rayClusterSpec"), spec.get("submissionMode", "K8sJobMode")
    if mode not in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"):
        yield f"spec.submissionMode: no mode {mode}"
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield "metadata.name: must be a DNS-1035 label of at most 47 characters"
    if not cluster:
        yield "spec.rayClusterSpec: must be set"
        return
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield "spec.ttlSecondsAfterFinished: needs shutdownAfterJobFinishes: true"
    if mode == "SidecarMode":
        for field in ("clusterSelector", "submitterPodTemplate", "submitterConfig"):
            if field in spec:
                yield f"spec.{field}: not in SidecarMode"
        if cluster["headGroupSpec"]["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "spec.rayClusterSpec.headGroupSpec: restartPolicy must be Never in SidecarMode"
    for group in cluster.get("workerGroupSpecs", []):
        if group.get("minReplicas", 0) > group.get("maxReplicas", 2**31):
            yield f"spec.rayClusterSpec.workerGroupSpecs[{group['groupName']}]: minReplicas > maxReplicas"
    version = tuple(int(part) for part in re.findall(r"\d+", cluster.get("rayVersion", "0"))[:2])
    if cluster.get("authOptions", {}).get("mode") == "token" and version < (2, 52):
        yield "spec.rayClusterSpec.authOptions: mode token needs rayVersion 2.52 or newer"
