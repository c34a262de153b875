"""The digest of a worker's whole state, tensor by tensor: workers that hold the same bits have the same.

Of tensors in the host's memory it is XXH3-128; what lies on a device is summed up there (`device_digest.py`), in other digests. A run stays
on the device it began on, so only digests of one kind meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from disttrain.checkpoint import fault_digest
from disttrain.host_numbers import bytes_of
from disttrain.training.step.device_digest import device_digests

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class StateDigest:
    """16 bytes for each tensor's bytes in C order, and XXH3-128 of the state's `meta` as JSON.

    Whole numbers only, so neither threads nor devices nor the order of sums have a part in it.

    Args:
        packed: the digests, one behind the other.
        names: whose they are, `meta` last; empty where whoever compares has them from another worker.
    """

    packed: bytes
    names: tuple[str, ...] = ()

    @property
    def unnamed(self) -> StateDigest:
        """Without the names, which are the same on all workers and long."""
        return replace(self, names=())

    def tree(self) -> dict[str, str]:
        """Hexadecimal digits by name."""
        size = DIGEST_BYTES
        return {name: self.packed[number * size : (number + 1) * size].hex() for number, name in enumerate(self.names)}


def digest_of(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> StateDigest:
    """The digest of a state; `tensors` in the order of the state."""
    elsewhere = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
    there = dict(zip(elsewhere, device_digests(list(elsewhere.values())), strict=True))
    return _packed(tensors, [there.get(name) or fault_digest(as_bytes(tensor)) for name, tensor in tensors.items()], meta)


def digest_of_bytes(parts: Mapping[str, Any], meta: Mapping[str, Any]) -> StateDigest:
    """That of a state in the host's memory; `parts` has the bytes of each tensor, in the order of the state."""
    return _packed(parts, [fault_digest(data) for data in parts.values()], meta)


def _packed(names: Iterable[str], digests: Iterable[bytes], meta: Mapping[str, Any]) -> StateDigest:
    told = json.dumps(dict(meta), sort_keys=True).encode()
    return StateDigest(b"".join([*digests, fault_digest(told)]), (*names, "meta"))


def first_difference(one: bytes, other: bytes, names: tuple[str, ...]) -> str:
    """What two packed digests first differ in."""
    size = DIGEST_BYTES
    for number, name in enumerate(names):
        if one[number * size : (number + 1) * size] != other[number * size : (number + 1) * size]:
            return name
    return "the number of tensors"


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in C order; those of one in the CPU's memory are not copied."""
    return bytes_of(tensor.cpu()).numpy().data
