"""Every layer: the same bits twice in a process and in a second one, with determinism and without; masks as on CPUs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import disttrain as dt
from disttrain import layers
from disttrain.determinism import Numerics, settle
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.structure import flatten, map_structure
from disttrain.seeds import set_random_seed
from disttrain.training.step.device_digest import device_digests
from gpu.telling import Teller, in_words, use_test_support

_SECOND_LIMIT_S = 100.0


def every_layer(tell: Teller) -> None:
    """Forward and backward of each case."""
    second = _Second(tell)
    settle(tell.device.type, Numerics(deterministic=True))
    first, again = dict(_digests(tell.device)), dict(_digests(tell.device))
    failed = {name: found for name, found in first.items() if found.startswith("error")}
    tell.holds("every layer computes while torch is to be deterministic", not failed, f"{len(first) - len(failed)} of {len(first)} cases")
    for name, words in list(failed.items())[:12]:
        tell.measured(name, words)
    _compare(tell, "twice in a process, deterministic", first, again)
    settle(tell.device.type, Numerics(deterministic=False))
    loose, loose_again = dict(_digests(tell.device)), dict(_digests(tell.device))
    _compare(tell, "twice in a process, not deterministic", loose, loose_again, promised=False)
    _compare(tell, "deterministic beside not", first, loose, promised=False)
    other = second.found()
    if isinstance(other, str):
        tell.holds("in a second process", False, other)
    else:
        _compare(tell, "in a second process, deterministic", first, other)


def masks(tell: Teller) -> None:
    """What is drawn on the device has the bits of the CPU."""
    cpu = torch.device("cpu")
    for make, training in (
        (lambda: layers.Dropout(0.3), True),
        (lambda: layers.SpatialDropout1D(0.5), True),
        (lambda: layers.RandomFlip(), True),
    ):
        name = type(make()).__name__
        shape = (8, 16, 16, 3) if name == "RandomFlip" else (8, 33, 17)
        x = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32)) + 1
        found = []
        for device in (cpu, tell.device):
            dt.clear_session()
            layer = make()
            with call_context(CallContext(training=training, key=5, rows=(0, 8, 8))):
                found.append(layer(x.to(device)).cpu())
        tell.holds(
            f"{name} draws the same on a CPU and here", torch.equal(*found), f"{float((found[0] != found[1]).float().mean()):.2%} differ"
        )


def digests_to(device: str, file: Path) -> None:
    """What the second process does."""
    settle(device, Numerics(deterministic=True))
    file.write_text(json.dumps(dict(_digests(torch.device(device)))))


class _Second:
    """A second process, which begins at once."""

    def __init__(self, tell: Teller) -> None:
        self._file = tell.folder / "second.json"
        here = str(Path(__file__).resolve().parents[1])
        code = f"import sys; sys.path.insert(0, {here!r}); from gpu.layers import digests_to; from pathlib import Path; "
        code += f"digests_to({tell.device.type!r}, Path({str(self._file)!r}))"
        self._process = subprocess.Popen([sys.executable, "-c", code], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        self._words: list[str] = []
        self._reading = threading.Thread(target=lambda: self._words.append(self._process.communicate()[1]), daemon=True)
        self._reading.start()

    def found(self) -> dict[str, str] | str:
        """Its digests, or why there are none."""
        self._reading.join(_SECOND_LIMIT_S)
        if self._reading.is_alive():
            self._process.kill()
            return f"not done within {_SECOND_LIMIT_S:g} s"
        if self._process.returncode:
            return f"ended with {self._process.returncode}: {self._words[0].strip().splitlines()[-1:]}"
        found: dict[str, str] = json.loads(self._file.read_text())
        return found


def _compare(tell: Teller, what: str, one: dict[str, str], other: dict[str, str], *, promised: bool = True) -> None:
    differ = sorted(name for name in one if one[name] != other.get(name) and not one[name].startswith("error"))
    kinds = Counter(name.split(",")[0] for name in differ)
    words = f"{len(one) - len(differ)} of {len(one)} cases the same"
    words += f"; not: {', '.join(kinds)}" if kinds else ""
    if promised:
        tell.holds(f"{what}: the same bits", not differ, words)
    else:
        tell.measured(what, words)


def _digests(device: torch.device) -> Iterator[tuple[str, str]]:
    """Of the outputs and all gradients of each case; "error ..." where there are none."""
    use_test_support()
    from layer_case import all_cases

    for name, case in all_cases().items():
        try:
            yield name, _digest(case, device)
        except Exception as error:
            yield name, f"error {in_words(error)}"


def _digest(case: Any, device: torch.device) -> str:
    dt.clear_session()
    set_random_seed(1)
    layer = case.make(layers)
    given = map_structure(torch.as_tensor, case.inputs)
    arguments = tuple(given) if case.spread else (given,)
    call = {key: torch.as_tensor(value) if isinstance(value, np.ndarray) else value for key, value in (case.call or {}).items()}
    layer(*arguments, **call)  # builds it, on the CPU
    layer.to(device)
    arguments = tuple(map_structure(lambda t: _there(t, device), argument) for argument in arguments)
    call = {key: _there(value, device) if isinstance(value, Tensor) else value for key, value in call.items()}
    size = next(len(leaf) for leaf in flatten(list(arguments)) if isinstance(leaf, Tensor) and leaf.ndim)
    with call_context(CallContext(training=True, key=3, rows=(0, size, size))):
        outputs = [leaf for leaf in flatten(layer(*arguments, **call)) if isinstance(leaf, Tensor)]
        floats = [leaf.sum() for leaf in outputs if leaf.requires_grad]
        if floats:
            torch.stack([value.float() for value in floats]).sum().backward()
    leaves = [leaf for leaf in flatten(list(arguments)) if isinstance(leaf, Tensor)]
    gradients = [tensor.grad for tensor in (*leaves, *layer.parameters()) if tensor.grad is not None]
    elsewhere = [tensor.device.type for tensor in (*outputs, *gradients) if tensor.device.type != device.type]
    if elsewhere:
        raise RuntimeError(f"{len(elsewhere)} results lie on {elsewhere[0]}")
    return b"".join(device_digests([*outputs, *gradients, *layer.buffers()])).hex()


def _there(tensor: Tensor, device: torch.device) -> Tensor:
    there = tensor.detach().to(device, copy=True)
    return there.requires_grad_() if there.is_floating_point() else there
