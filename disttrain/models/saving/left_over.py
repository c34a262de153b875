"""What an HDF5 file holds and a model has no place for: weights that nobody would read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from disttrain.layers.tracking import holds_modules
from disttrain.models.saving.h5_paths import module_paths

_NO_LAYERS = ("optimizer", "_layer_checkpoint_dependencies")  # at the top of a file; the second repeats what stands elsewhere
_MAX_DEPTH = 64


def left_over(file: Any, model: nn.Module, read: set[str]) -> list[str]:
    """In words, the groups of weights in an open file that are not among those that were `read`."""
    modules = dict(module_paths(model))
    found = []
    for path, group in _groups(file, "", 0, set()):
        if path in read or not _holds_arrays(group):
            continue
        parts = path.split("/")[:-1]
        if not parts or parts[0] in _NO_LAYERS or _is_no_layer(parts, modules) or _looks_like_an_optimizer(group):
            continue
        name = group.attrs.get("name")
        called = name if isinstance(name, str) else parts[-1]
        found.append(f"{called}: {len(group)} weights in the file at {'/'.join(parts)!r}, which the model does not have")
    return found


def _groups(group: Any, path: str, depth: int, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Every group called `vars`, each once, since a file may make rings; links that lead elsewhere are not followed."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"groups are nested more than {_MAX_DEPTH} deep: no model's are.")
    seen.add(group.id)
    for name in group:
        member = _own(group, name)
        if not hasattr(member, "keys") or member.id in seen:
            continue
        below = f"{path}/{name}" if path else name
        if name == "vars":
            yield below, member
        else:
            yield from _groups(member, below, depth + 1, seen)


def _own(group: Any, name: str) -> Any:
    """A member that lies in the file itself; None for one that does not."""
    return group[name] if type(group.get(name, getlink=True)).__name__ == "HardLink" else None


def _holds_arrays(group: Any) -> bool:
    return any(hasattr(_own(group, name), "shape") for name in group)


def _is_no_layer(parts: list[str], modules: dict[str, nn.Module]) -> bool:
    """Does it belong to what the model has in that place and which is no layer: a metric, another optimizer, a source of seeds?"""
    if any(part.startswith("seed_generator") for part in parts):
        return True
    for length in range(len(parts) - 1, -1, -1):
        owner = modules.get("/".join(parts[:length]))
        if owner is not None:
            value = owner.__dict__.get(parts[length])
            return value is not None and not isinstance(value, list | tuple | dict) and not holds_modules(value)
    return False


def _looks_like_an_optimizer(group: Any) -> bool:
    """A count of steps and a rate come first, as of one that a step of the script's own uses."""
    pair: list[Any] = [_own(group, name) if name in group.keys() else None for name in ("0", "1")]  # noqa: SIM118 - see `h5_reading`
    first, second = pair
    if getattr(first, "shape", None) != () or getattr(second, "shape", None) != ():
        return False
    return bool(first.dtype.kind in "iu" and second.dtype.kind == "f")
