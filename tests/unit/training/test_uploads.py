"""How samples get to a device; the device here has tensors without values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from disttrain.training.step.uploads import uploaded

LARGE, SMALL = torch.ones(1 << 17).view(2, -1).t(), torch.ones(64)


class Cuda:
    """Says that it is CUDA's, and is not there."""

    type = "cuda"


@pytest.fixture
def pinned() -> list[Tensor]:
    return []


@pytest.mark.parametrize(("tensor", "over_pinned_memory"), [(LARGE, True), (SMALL, False)])
def test_what_is_large_goes_over_pinned_memory_on_a_stream_of_its_own(
    tensor: Tensor, over_pinned_memory: bool, pinned: list[Tensor], monkeypatch: pytest.MonkeyPatch
):
    sent: list[tuple[Tensor, bool, bool]] = []
    inside: list[bool] = [False]
    kept: list[Tensor] = []
    monkeypatch.setattr(Tensor, "to", lambda self, device, non_blocking=False: sent.append((self, non_blocking, inside[-1])) or self)
    monkeypatch.setattr(Tensor, "is_pinned", lambda self: False)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: kept.append(self))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def pin(given: Tensor) -> Tensor:
        pinned.append(given.clone())
        return pinned[-1]

    @contextmanager
    def beside(device: torch.device) -> Iterator[None]:
        inside.append(True)
        yield
        inside.pop()

    uploaded(tensor, Cuda(), pin, beside)  # type: ignore[arg-type]
    ((last, without_waiting, on_its_own_stream),) = sent
    assert without_waiting and [last is one for one in pinned] == [True] * over_pinned_memory
    assert on_its_own_stream == over_pinned_memory == bool(kept)  # and its memory is kept until this stream has read it


def test_on_a_cpu_nothing_is_copied(pinned: list[Tensor]):
    assert uploaded(LARGE, torch.device("cpu"), pinned.append) is LARGE and not pinned  # type: ignore[arg-type]


def test_strides_stay_as_they_are():
    assert uploaded(LARGE, torch.device("meta")).stride() == LARGE.stride()
