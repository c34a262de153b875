"""Digests of tensors that lie on a device, computed there: 16 bytes of each come to the host, and not the tensor.

A tensor's bytes are read as 32-bit words w. Both halves of the digest are sums, modulo 2^64, of w times an odd key that belongs to the
word's place; so any order of adding gives the same, and one word that differs always shows. It guards against faults, not against people.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from disttrain.host_numbers import bytes_of

_ROW = 1 << 18  # words that have keys of their own; a row of words has a key as well
_ROWS_AT_ONCE = 32  # 64 MB of products at a time
_LANES = (0x243F6A8885A308D3, 0x13198A2E03707344)  # the first digits of pi, behind the point


def device_digests(tensors: Sequence[Tensor]) -> list[bytes]:
    """One for each; waits for the device once."""
    if not tensors:
        return []
    with torch.no_grad():
        lanes = torch.stack([_lanes(tensor) for tensor in tensors]).cpu()
    return [row.tobytes() for row in lanes.numpy()]


def _lanes(tensor: Tensor) -> Tensor:
    words = _words(tensor)
    device = words.device
    total = torch.full((2,), tensor.nbytes, dtype=torch.int64, device=device) * _odd_keys(1, 1, device)[:, 0]
    at_once = _ROW * _ROWS_AT_ONCE
    for first in range(0, words.numel(), at_once):
        part = words[first : first + at_once]
        width = min(_ROW, part.numel())
        rows = pad(part, (0, -part.numel() % width)).view(-1, width).long()
        number = first // _ROW
        for lane, (keys, row_keys) in enumerate(zip(_odd_keys(0, _ROW, device), _odd_keys(2 + number, len(rows), device), strict=True)):
            total[lane] += ((rows * keys[:width]).sum(1) * row_keys).sum()
    return total


def _words(tensor: Tensor) -> Tensor:
    """Its bytes in C order as 32-bit words, with zeros at the end where there are too few; what needs no copy is not copied."""
    octets = bytes_of(tensor)
    if octets.numel() % 4 or octets.storage_offset() % 4:
        octets = pad(octets, (0, -octets.numel() % 4))
    return octets.view(torch.int32)


@lru_cache(maxsize=64)
def _odd_keys(purpose: int, count: int, device: torch.device) -> Tensor:
    """(2, count) odd numbers of 64 bits, those of `splitmix64` from a place that belongs to the lane and the purpose."""
    places = torch.arange(1, count + 1, dtype=torch.int64, device=device)
    starts = torch.tensor([_signed(lane + purpose * 0xD1B54A32D192ED03) for lane in _LANES], dtype=torch.int64).to(device)
    mixed = starts[:, None] + places * _signed(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(factor)
    return (mixed ^ _shifted(mixed, 31)) | 1


def _shifted(value: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left: torch's own shift repeats the sign."""
    return (value >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
