"""A GPU that computes nothing: its tensors have shapes, dtypes and a device, and every operation is looked at.

`FakeTensor` refuses what a GPU would refuse, such as tensors of two devices in one operation. Noted besides: operations of which CUDA has
no deterministic version, what makes the host wait, and what is counted as launches. It gives its name to torch's spare backend, once and
for the whole process, so it runs in processes of its own: `python fake_gpu.py layers|steps` prints a line of JSON for each case.
"""

from __future__ import annotations

import collections
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fakegpu"

# Those that torch refuses on CUDA while deterministic algorithms are asked for: `torch.use_deterministic_algorithms` lists them by the
# names that people use; these are the operations behind them.
REFUSED = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward",
    "avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d",
    "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_trilinear3d_backward",
    "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "reflection_pad1d_backward", "reflection_pad2d_backward",
    "reflection_pad3d_backward", "nll_loss2d_forward", "_ctc_loss_backward", "put_", "put", "histc", "median", "kthvalue",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "_embedding_bag_dense_backward",
}  # fmt: skip
_FLOATS_ONLY = {"cumsum", "cumsum_", "logcumsumexp"}
_VIEWS = {
    "view", "slice", "select", "alias", "detach", "t", "expand", "as_strided", "unsqueeze", "squeeze", "transpose", "permute",
    "_unsafe_view", "split", "unbind", "diagonal", "_reshape_alias", "unfold", "split_with_sizes", "view_as", "lift_fresh", "device",
}  # fmt: skip


class Ledger:
    """What was seen."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.waits: list[str] = []
        self.operations: collections.Counter[str] = collections.Counter()

    @property
    def launches(self) -> int:
        return sum(count for name, count in self.operations.items() if name not in _VIEWS)

    def clear(self) -> None:
        self.refused.clear()
        self.waits.clear()
        self.operations.clear()


class _Operations(TorchDispatchMode):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        on_gpu = any(isinstance(arg, Tensor) and arg.device.type == NAME for arg in torch.utils._pytree.tree_leaves((args, kwargs)))
        if on_gpu:
            self._ledger.operations[name] += 1
            if _is_refused(name, args):
                self._ledger.refused.append(name)
        if name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2"):
            if on_gpu:
                self._ledger.waits.append(f"{name} at {_place()}")
            if name == "_local_scalar_dense" and isinstance(args[0], FakeTensor):
                return False if args[0].dtype is torch.bool else 1.0 if args[0].dtype.is_floating_point else 1
        if name == "_to_copy" and on_gpu and torch.device((kwargs or {}).get("device") or NAME).type == "cpu":
            self._ledger.waits.append(f"copy to the host at {_place()}")
        return function(*args, **(kwargs or {}))


def _is_refused(name: str, args: Any) -> bool:
    if name in _FLOATS_ONLY:
        return bool(args[0].dtype.is_floating_point)
    return name in REFUSED and not (name == "nll_loss2d_forward" and args[3] == 0)  # of each value alone it has one result


class _Reads(TorchFunctionMode):
    """What passes all dispatch by: copies to the device of tensors that are real, and recurrent kernels."""

    def __init__(self, ledger: Ledger, fakes: FakeTensorMode) -> None:
        super().__init__()
        self._ledger, self._fakes = ledger, fakes

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first.device.type == NAME and function is Tensor.numpy:
            raise TypeError("a tensor on a GPU has no array: copy it to the host first")
        if function in (torch.gru, torch.lstm) and first is not None and first.device.type == NAME:
            return _recurrent(*args)  # one kernel of cuDNN; torch has no shapes of its parts for a device of Python's
        if isinstance(first, FakeTensor) and function is Tensor.to:
            first.constant = None  # one number of which its value is known would be copied in earnest
        if function in (Tensor.to, Tensor.cpu) and first is not None and not isinstance(first, FakeTensor):
            where = kwargs.get("device", args[1] if len(args) > 1 else None)
            if isinstance(where, torch.device | str) and torch.device(where).type == NAME:
                args = (self._fakes.from_tensor(first.detach()), *args[1:])
        return function(*args, **kwargs)


def _recurrent(
    x: Tensor, start: Any, weights: list[Tensor], biases: bool, layers: int, rate: float, train: bool, both: bool, first: bool
) -> Any:
    """What `torch.gru` and `torch.lstm` give, as shapes that depend on all that goes in."""
    states = start if isinstance(start, tuple | list) else (start,)
    all_of_it = sum(tensor.sum() for tensor in (x, *states, *weights))
    output = all_of_it.expand(*x.shape[:-1], states[0].shape[-1] * (2 if both else 1)).clone()
    return (output, *(all_of_it.expand(state.shape).clone() for state in states))


def _place() -> str:
    """The innermost line of disttrain that is running."""
    for frame in reversed(traceback.extract_stack()):
        if "/disttrain/" in frame.filename and "/tests/" not in frame.filename:
            return f"{frame.filename.rsplit('/disttrain/', 1)[1]}:{frame.name}"
    return "torch"


def device() -> torch.device:
    return torch.device(NAME, 0)


@contextmanager
def watched(ledger: Ledger) -> Iterator[FakeTensorMode]:
    """Look at what happens on the fake GPU inside the block; modules that are sent there have been moved by `moved`."""
    fakes, to = FakeTensorMode(allow_non_fake_inputs=True), nn.Module.to
    nn.Module.to = lambda module, *args, **kwargs: module  # type: ignore[method-assign, assignment]
    try:
        with fakes, _Operations(ledger), _Reads(ledger, fakes):
            yield fakes
    finally:
        nn.Module.to = to  # type: ignore[method-assign]


def moved(module: nn.Module) -> None:
    """Put what `module` holds on the fake GPU; inside `watched`."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in list(tensors.items()):
                if tensor is not None:
                    tensors[name] = _like(tensor)


def _like(tensor: Tensor) -> Any:
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device())
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def move_metric(metric: Any) -> None:
    """The variables of a metric, by whatever attributes they are held."""
    there = {id(variable): _like(variable) for variable in metric.variables}
    for name, value in metric.__dict__.items():
        if id(value) in there:
            metric.__dict__[name] = there[id(value)]
        elif isinstance(value, list):
            metric.__dict__[name] = [there.get(id(item), item) for item in value]
        elif isinstance(value, dict):
            metric.__dict__[name] = {key: there.get(id(item), item) for key, item in value.items()}


def outcome(work: Callable[[Ledger], None]) -> dict[str, Any]:
    """What `work` came to: `error`, or None; what was refused, the waits, the launches."""
    ledger, error = Ledger(), None
    try:
        work(ledger)
    except Exception as failed:
        frames = [frame for frame in traceback.extract_tb(failed.__traceback__) if "/disttrain/" in frame.filename]
        at = f" at {frames[-1].filename.rsplit('/disttrain/', 1)[1]}:{frames[-1].lineno}" if frames else ""
        error = f"{type(failed).__name__}: {str(failed).splitlines()[0][:300] if str(failed) else ''}{at}"
    waits = [wait for number, wait in enumerate(ledger.waits) if not number or wait != ledger.waits[number - 1]]  # each number of one copy
    return {"error": error, "refused": sorted(set(ledger.refused)), "waits": waits, "launches": ledger.launches}


# -- layers -----------------------------------------------------------------------------------------------------------------------------


def layer_outcomes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Forward and backward in training, of every case of every layer."""
    from layer_case import all_cases

    import disttrain.layers
    from disttrain.layers.structure import map_structure

    for name, case in all_cases().items():

        def run(ledger: Ledger, case: Any = case) -> None:
            layer = case.make(disttrain.layers)
            given = map_structure(torch.as_tensor, case.inputs)
            arguments = tuple(given) if case.spread else (given,)
            call = {key: torch.as_tensor(value) if isinstance(value, np.ndarray) else value for key, value in (case.call or {}).items()}
            layer(*arguments, **call)  # builds it
            with watched(ledger) as fakes:
                moved(layer)
                there = lambda t: _given(fakes, t)  # noqa: E731
                arguments = tuple(map_structure(there, argument) for argument in arguments)
                call = {key: there(value) if isinstance(value, Tensor) else value for key, value in call.items()}
                _forward_and_backward(layer, arguments, call)

        yield name, outcome(run)


def _given(fakes: FakeTensorMode, tensor: Tensor) -> Tensor:
    there = fakes.from_tensor(tensor).to(device())
    return there.requires_grad_() if there.is_floating_point() else there


def _forward_and_backward(layer: Any, arguments: tuple[Any, ...], call: dict[str, Any]) -> None:
    from disttrain.bounds import Ledger as IndexLedger
    from disttrain.bounds import watching
    from disttrain.layers.context import CallContext, call_context
    from disttrain.layers.structure import flatten

    size = next(len(leaf) for leaf in flatten(list(arguments)) if isinstance(leaf, Tensor) and leaf.ndim)
    with watching(IndexLedger()), call_context(CallContext(training=True, key=3, rows=(0, size, size))):  # as in a step
        outputs = [leaf for leaf in flatten(layer(*arguments, **call)) if isinstance(leaf, Tensor)]
        stray = [tuple(leaf.shape) for leaf in outputs if leaf.device.type != NAME]
        assert not stray, f"outputs of shapes {stray} are left on the CPU"
        floats = [leaf.sum() for leaf in outputs if leaf.requires_grad]
        if floats:
            torch.stack([value.float() for value in floats]).sum().backward()


# -- steps ------------------------------------------------------------------------------------------------------------------------------


def step_outcomes() -> Iterator[tuple[str, dict[str, Any]]]:
    """One step of training, after a first one, by the engine itself: models, losses, metrics and optimizers."""
    from fake_gpu_steps import cases

    from disttrain import philox

    # As on CUDA, where one kernel draws: in whole numbers it would be 250 launches.
    philox.words = lambda key, count, device=None: torch.empty(count, dtype=torch.int64, device=device).random_()
    for name, case in cases().items():
        yield name, outcome(case)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _setup_privateuseone_for_python_backend(NAME)
    torch.use_deterministic_algorithms(True)
    for name, found in {"layers": layer_outcomes, "steps": step_outcomes}[sys.argv[1]]():
        print(json.dumps([name, found]), flush=True)
