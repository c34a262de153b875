"""How samples get to a device; the device here has tensors without values."""

from __future__ import annotations

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
def test_what_is_large_goes_over_pinned_memory(
    tensor: Tensor, over_pinned_memory: bool, pinned: list[Tensor], monkeypatch: pytest.MonkeyPatch
):
    sent: list[tuple[Tensor, bool]] = []
    monkeypatch.setattr(Tensor, "to", lambda self, device, non_blocking=False: sent.append((self, non_blocking)) or self)
    monkeypatch.setattr(Tensor, "is_pinned", lambda self: False)

    def pin(given: Tensor) -> Tensor:
        pinned.append(given.clone())
        return pinned[-1]

    uploaded(tensor, Cuda(), pin)  # type: ignore[arg-type]
    ((last, without_waiting),) = sent
    assert without_waiting and [last is one for one in pinned] == [True] * over_pinned_memory


def test_on_a_cpu_nothing_is_copied(pinned: list[Tensor]):
    assert uploaded(LARGE, torch.device("cpu"), pinned.append) is LARGE and not pinned  # type: ignore[arg-type]


def test_strides_stay_as_they_are():
    assert uploaded(LARGE, torch.device("meta")).stride() == LARGE.stride()
