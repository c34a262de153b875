"""Digests that are computed where a tensor lies; here the device is a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from disttrain.training.step import device_digest
from disttrain.training.step.device_digest import device_digests

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.float16]
SIZES = [0, 1, 3, 4, 31, 1000, 4099]


def _filled(dtype: torch.dtype, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    octets = torch.randint(0, 256, (size * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return octets % 2 == 1 if dtype is torch.bool else octets.view(dtype)


@pytest.fixture(autouse=True)
def _short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that these tensors have many, as large ones do."""
    monkeypatch.setattr(device_digest, "_ROW", 64)
    monkeypatch.setattr(device_digest, "_ROWS_AT_ONCE", 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_digest_belongs_to_the_bytes_wherever_they_lie(dtype: torch.dtype):
    for size in SIZES:
        tensor = _filled(dtype, size)
        shifted = torch.cat([tensor[:1], tensor])[1:] if size else tensor
        (own,) = device_digests([tensor])
        assert len(own) == 16
        assert device_digests([shifted, tensor.clone()]) == [own, own]


def test_every_bit_of_every_word_shows():
    tensor = _filled(torch.int32, 500)
    seen = {device_digests([tensor])[0]}
    for place in range(0, 500, 7):
        for bit in (0, 1, 17, 31):
            changed = tensor.clone()
            changed[place] ^= torch.tensor(1 << bit if bit < 31 else -(1 << 31), dtype=torch.int32)
            seen.add(device_digests([changed])[0])
    assert len(seen) == 1 + len(range(0, 500, 7)) * 4


def test_numbers_that_change_places_show_and_so_do_zeros_at_the_end():
    tensor = _filled(torch.float32, 400)
    swapped = tensor.clone()
    swapped[3], swapped[300] = tensor[300], tensor[3]
    moved = torch.roll(tensor, 64)  # by a whole row
    digests = device_digests([tensor, swapped, moved, torch.zeros(4), torch.zeros(5), torch.zeros(64), torch.zeros(128)])
    assert len(set(digests)) == len(digests)


def test_strides_do_not_count():
    tensor = _filled(torch.float32, 12).view(3, 4)
    assert device_digests([tensor.t().contiguous().t()]) == device_digests([tensor])


def test_nobody_is_asked_where_there_is_nothing():
    assert device_digests([]) == []
