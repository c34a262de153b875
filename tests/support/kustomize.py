"""Renders a kustomization as `kubectl kustomize` does, for the features that k8s/ uses; anything else is an error, not a guess.

Unlike kustomize, a patch whose target matches nothing is an error here: there it is silent, and the overlay does nothing.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from manifests import load_all, load_one

Manifest = dict[str, Any]
KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "images"}


class KustomizeError(ValueError):
    """A kustomization that cannot be rendered, with its folder."""


def render(folder: Path) -> list[Manifest]:
    """The manifests of a kustomization's folder, after its components, patches and image names."""
    return _accumulate([], folder, "Kustomization")


def _accumulate(manifests: list[Manifest], folder: Path, kind: str) -> list[Manifest]:
    page = load_one(folder / "kustomization.yaml")
    if page["kind"] != kind:
        raise KustomizeError(f"{folder}: kind {page['kind']}, expected {kind}")
    if unknown := sorted(set(page) - KNOWN):
        raise KustomizeError(f"{folder}: this renderer knows no {', '.join(unknown)}")
    for name in page.get("resources", []):
        path = folder / name
        manifests = manifests + (render(path) if path.is_dir() else load_all(path))
    for name in page.get("components", []):
        manifests = _accumulate(manifests, folder / name, "Component")
    for patch in page.get("patches", []):
        _patch(manifests, patch, folder)
    for image in page.get("images", []):
        _rename_image(manifests, image)
    return manifests


def _patch(manifests: list[Manifest], patch: Manifest, folder: Path) -> None:
    body = load_one(folder / patch["path"])
    target = patch.get("target") or {"kind": body["kind"], "name": body["metadata"]["name"]}
    hits = [m for m in manifests if m["kind"] == target["kind"] and target.get("name", m["metadata"]["name"]) == m["metadata"]["name"]]
    if not hits:
        raise KustomizeError(f"{folder}/{patch['path']}: its target {target} matches nothing")
    for manifest in hits:
        if isinstance(body, list):
            for operation in body:
                json_patch(manifest, operation)
        else:
            _merge(manifest, body)


def json_patch(document: Any, operation: Manifest) -> None:
    """Apply one RFC 6902 operation, `add` or `replace`, in place. Raises KustomizeError when the place does not exist."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    value = copy.deepcopy(operation["value"])
    try:
        for part in parents:
            document = document[int(part)] if isinstance(document, list) else document[part]
        match document, operation["op"]:
            case list(), "add" if last == "-":
                document.append(value)
            case list(), "replace":
                document[int(last)] = value
            case dict(), "add":
                document[last] = value
            case dict(), "replace" if last in document:
                document[last] = value
            case _:
                raise KeyError(last)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise KustomizeError(f"{operation['op']} {operation['path']}: no such place ({error})") from None


def _merge(manifest: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, list):
            raise KustomizeError(f"a list ({key}) in a merge patch: say it with op, path and value")
        if isinstance(value, dict):
            _merge(manifest.setdefault(key, {}), value)
        else:
            manifest[key] = value


def _rename_image(node: Any, image: Manifest) -> None:
    if isinstance(node, list):
        for item in node:
            _rename_image(item, image)
    elif isinstance(node, dict):
        name, _, tag = str(node.get("image", "")).partition(":")
        if name == image["name"]:
            node["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
        for item in node.values():
            _rename_image(item, image)
