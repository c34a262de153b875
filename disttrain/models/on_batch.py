"""One batch at a time: `train_on_batch`, `test_on_batch`, and the short way of `predict`. Always in this process."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain import watch
from disttrain.alignment import copy_of
from disttrain.data import ArraySource, BatchPlan, flatten, map_structure
from disttrain.data.plan import slice_of
from disttrain.data.sources import as_array, standard_layout
from disttrain.determinism import kept, settle_now
from disttrain.errors import DataError
from disttrain.layers.context import call_context
from disttrain.seeds import fold_in, random_seed
from disttrain.training.allocator import keep_freed_memory
from disttrain.training.compiled.class_weight import class_weights
from disttrain.training.compiled.outputs import as_arrays
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.program import Kind, Position, Program
from disttrain.training.step.engine import Engine
from disttrain.training.step.step_context import StepContext

_TRAIN = Position(0, Kind.TRAIN, 0, 0, Kind.TRAIN)
_TEST = Position(0, Kind.VALIDATE, 0, 0, Kind.VALIDATE)


class _Batch:
    """A source of one batch, which is set before each step."""

    tensors: tuple[Any, Any, Any]
    draws = False

    def __len__(self) -> int:
        return len(flatten(self.tensors[0])[0])

    def fetch(self, indices: NDArray[np.int64], key: int) -> tuple[Any, Any, Any]:
        if len(indices) == len(self):
            return self.tensors
        first, stop = int(indices[0]), int(indices[-1]) + 1
        x, y, weight = (map_structure(lambda t: t[first:stop].clone(memory_format=torch.contiguous_format), part) for part in self.tensors)
        return x, y, weight


class _OneBatch(BatchPlan):
    """A plan of one step, with the batch of `source`, whatever its size is."""

    source: _Batch

    def batch_count(self, epoch: int, step: int) -> int:
        return len(self.source)

    def run(self, epoch: int, step: int, virtual_rank: int) -> tuple[int, int] | None:
        return None

    def indices(self, epoch: int, step: int, virtual_rank: int | None = None) -> NDArray[np.int64]:
        count = len(self.source)
        start, stop = (0, count) if virtual_rank is None else slice_of(count, self.virtual_workers, virtual_rank)
        return np.arange(start, stop)


class OnBatch:
    """An engine kept between calls, so that a loop over `train_on_batch` builds nothing anew."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.settings = _settings()
        self._source = _Batch()
        self._engine: Engine | None = None

    def fits(self, model: Any) -> bool:
        """May it go on: are model, trainable weights and virtual workers those that it was made for?"""
        if model is not self.model or self.settings != _settings():
            return False
        engine = self._engine
        return engine is None or len(engine.replica.state.params) == sum(param.requires_grad for param in model.parameters())

    def train(self, x: Any, y: Any, sample_weight: Any, class_weight: dict[int, float] | None) -> dict[str, Any]:
        """One update; the logs of this batch, by sorted name."""
        return self._step(_TRAIN, x, y, sample_weight, class_weight)

    def test(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """The logs of this batch."""
        return self._step(_TEST, x, y, sample_weight, None)

    def _step(self, position: Position, x: Any, y: Any, weight: Any, class_weight: dict[int, float] | None) -> dict[str, Any]:
        watch.sync_before_read()
        keep_freed_memory()
        self._take(x, y, weight, class_weight)
        virtual_workers, threads = self.settings
        with (
            runner.intra_op_threads(threads),
            runner.kept_generators(self._engine is None or self._engine.draws),
            kept(),
        ):
            engine = self._engine
            if engine is not None and engine.workspace.torchmetrics.step_samples < len(self._source):
                engine = None if engine.workspace.torchmetrics.gathers else engine  # no room for what they keep of each sample
            if engine is None:
                engine = self._engine = self._made(virtual_workers)
            else:
                engine.hold()
            engine.tick = 0
            settle_now(engine.replica.device.type)
            engine.run_tick(position)
            return dict(sorted(engine.results_of(position.kind).items()))

    def _take(self, x: Any, y: Any, weight: Any, class_weight: dict[int, float] | None) -> None:
        arrays = ArraySource(x, y, weight)
        x, y, weight = (map_structure(_standard, part) for part in (arrays.x, arrays.y, arrays.sample_weight))
        if class_weight is not None:
            if y is None:
                raise DataError("class_weight needs targets: y is missing.")
            weight = class_weights(y, class_weight)
        device = runner.home_of(self.model)
        if device.type != "cpu":
            x, y, weight = (map_structure(lambda t: t.to(device), part) for part in (x, y, weight))
        self._source.tensors = (x, y, weight)

    def _made(self, virtual_workers: int) -> Engine:
        """The engine, after the same checks as those of `fit`."""
        model, source = self.model, self._source
        plan = _OneBatch(len(source), len(source), virtual_workers)
        object.__setattr__(plan, "source", source)
        program = Program(((Kind.TRAIN, plan), (Kind.VALIDATE, plan)), boundaries=False)
        example, has_outputs = model.prepare_batch(source.tensors, plan)
        sources: Any = {Kind.TRAIN: source, Kind.VALIDATE: source}
        job = Job("fit", model, program, sources, virtual_workers, random_seed(), example, None, has_outputs)
        return Engine(job, runner.home_of(model))


def _settings() -> tuple[int, int | None]:
    carrier = runner.current()
    return carrier.virtual_workers, getattr(getattr(carrier, "_settings", None), "threads", None)


def predict_one_batch(model: Any, x: Any, batch_size: int | None, *, whole: bool = False) -> Any:
    """The outputs for arrays that are one batch, without the machinery of a call; None where they are not that, or the model is not ready.

    Args:
        batch_size: as for `predict`; `whole` takes all samples for one batch.
    """
    if not model.built or "predict_step" in model.overridden_steps() or model.jit_compile:
        return None
    if isinstance(x, np.ndarray) or type(x) is Tensor:
        inputs: Any = _tensor(x)
        count = inputs.shape[0] if inputs.ndim else 0
    elif isinstance(x, dict | list | tuple) and x and all(isinstance(leaf, np.ndarray) or type(leaf) is Tensor for leaf in flatten(x)):
        inputs = map_structure(_tensor, x)
        counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in flatten(inputs)}
        count = counts.pop() if len(counts) == 1 else 0
    else:
        return None
    if count == 0 or (count > (batch_size or 32) and not whole):
        return None
    device = runner.home_of(model)
    if device.type != "cpu" or runner.device_of(model) != device:
        model.to(device)  # made on the CPU, or given new layers there
        inputs = map_structure(lambda t: t.to(device), inputs)
    watch.sync_before_read()
    keep_freed_memory()
    context = StepContext(training=False)
    context.begin(_key_of_the_first_batch, 1.0, (0, count, count))
    with kept() if device.type == "cuda" else nullcontext(), torch.inference_mode(), call_context(context):
        settle_now(device.type)
        return as_arrays(model(inputs))


def _key_of_the_first_batch() -> int:
    return fold_in(fold_in(random_seed(), Kind.PREDICT.value, 0), 0)


def _standard(array: NDArray[Any]) -> Tensor:
    return standard_layout(torch.from_numpy(array))


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        tensor: Tensor = value.detach()
    elif value.dtype == np.float32 and value.flags.c_contiguous and value.flags.writeable:
        return standard_layout(torch.from_numpy(value))
    else:
        tensor = copy_of(as_array(value))
    return standard_layout(tensor.float() if tensor.dtype is torch.float64 else tensor)
