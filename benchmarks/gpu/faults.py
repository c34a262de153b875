"""What a person sees when a training on a GPU goes wrong, each in a process of its own: the process may be lost with it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import disttrain as dt
from disttrain import errors, layers
from gpu.telling import Teller, in_words


def index(tell: Teller) -> None:
    """A word beyond the vocabulary of an Embedding."""
    model = dt.Sequential([dt.Input((4,), dtype="int64"), layers.Embedding(10, 8), layers.Flatten(), layers.Dense(3)])
    x = np.random.default_rng(0).integers(0, 10, (64, 4))
    x[40, 2] = 10
    error = _raised(tell, lambda: _fit(model, x, np.zeros(64, np.int64)))
    tell.holds("the error names the index and the range", error is not None and "10" in str(error) and "9" in str(error))
    _still_usable(tell)


def label(tell: Teller) -> None:
    """A label beyond the classes."""
    model = dt.Sequential([dt.Input((4,)), layers.Dense(3)])
    y = np.random.default_rng(0).integers(0, 3, 64)
    y[50] = 7
    before = [weight.detach().cpu().clone() for weight in model.parameters()]
    error = _raised(tell, lambda: _fit(model, np.ones((64, 4), np.float32), y))
    told = error is not None and "7" in str(error) and ("2" in str(error) or not tell.on_gpu)  # a CPU's kernel names the label alone
    tell.holds("the error names the label, and the range", told)
    tell.measured(
        "weights that changed before it", sum(not torch.equal(a, b.cpu()) for a, b in zip(before, model.parameters(), strict=True))
    )
    _still_usable(tell)


def assertion(tell: Teller) -> None:
    """An index of the script's own, which nobody looks at before the kernel does."""

    class Taken(layers.Layer):
        def call(self, x: torch.Tensor) -> torch.Tensor:
            table = torch.arange(3.0, device=x.device)
            return x * table[(x[:, :1] > -1).long() * 5]

        def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
            return input_shape

    model = dt.Sequential([dt.Input((4,)), Taken(), layers.Dense(3)])
    error = _raised(tell, lambda: _fit(model, np.ones((64, 4), np.float32), np.zeros(64, np.int64)))
    if tell.on_gpu:
        tell.holds("it is told as an assertion of a kernel", isinstance(error, errors.DeviceAssert), type(error).__name__)
    else:
        tell.holds("it is told by torch", isinstance(error, IndexError), type(error).__name__)


def memory(tell: Teller) -> None:
    """A batch that does not fit; then one that does."""
    if not tell.on_gpu:
        tell.measured("skipped", "the memory of this machine is not to be filled")
        return
    free, _ = torch.cuda.mem_get_info()
    width = 1 << 14
    rows = int(free / (4 * width) / 2)  # the output of one layer takes half of what is free, and there are three
    model = dt.Sequential([dt.Input((8,)), layers.Dense(width), layers.Dense(width), layers.Dense(3)])
    x, y = np.ones((rows, 8), np.float32), np.zeros(rows, np.int64)
    error = _raised(tell, lambda: _fit(model, x, y, batch_size=rows))
    tell.holds("it is told as a batch that does not fit, with numbers", isinstance(error, errors.OutOfDeviceMemory), type(error).__name__)
    for line in str(error).splitlines()[1:]:
        tell.measured("it says", line.strip())
    del error
    gc.collect()
    with tell.trying("a smaller batch trains in the same process"):
        _fit(model, x[:4096], y[:4096], batch_size=1024)
        tell.holds("a smaller batch trains in the same process", True)


def nan(tell: Teller) -> None:
    """An infinite number in the data: the loss is NaN, and nothing is updated by it."""
    model = dt.Sequential([dt.Input((4,)), layers.Dense(3)])
    x = np.ones((64, 4), np.float32)
    x[0, 0] = np.inf
    before = [weight.detach().cpu().clone() for weight in model.parameters()]
    error = _raised(tell, lambda: _fit(model, x, np.zeros(64, np.int64), batch_size=64))
    tell.holds("it is told as a loss that is not finite", isinstance(error, errors.NonFiniteLoss), type(error).__name__)
    same = all(torch.equal(a, b.detach().cpu()) for a, b in zip(before, model.parameters(), strict=True))
    tell.holds("the weights are those before the step", same)
    _still_usable(tell)


def _fit(model: Any, x: Any, y: Any, batch_size: int = 32) -> None:
    model.compile(optimizer="sgd", loss=dt.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0, shuffle=False)


def _raised(tell: Teller, work: Callable[[], None]) -> Exception | None:
    dt.set_device(tell.device.type)
    try:
        work()
    except Exception as error:
        tell.measured("it is told as", in_words(error, 400))
        return error
    tell.holds("it is noticed", False, "the training went on")
    return None


def _still_usable(tell: Teller) -> None:
    with tell.trying("the process can go on using the device"):
        ones = torch.ones(8, device=tell.device)
        tell.holds("the process can go on using the device", float((ones @ ones).item()) == 8.0)
