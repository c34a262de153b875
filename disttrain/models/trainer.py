"""compile, fit, evaluate and predict: what turns a model into a call, and nothing of how the call is carried out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain import optimizers
from disttrain.callbacks import CallbackList, History
from disttrain.data import BatchPlan, RangeSource, Source, map_structure, source_of
from disttrain.data.plan import check_batch_size
from disttrain.data.sources import ArraySource
from disttrain.errors import DataError, UsageError
from disttrain.layers.context import CallContext
from disttrain.seeds import fold_in, random_seed
from disttrain.training import runner
from disttrain.training.compiled import CompiledLoss, CompiledMetrics
from disttrain.training.job import Job
from disttrain.training.program import Kind, Program


class Trainer:
    """The training half of a model. `Model` is this and a `Layer`."""

    optimizer: Any = None
    stop_training: bool = False
    _compile_arguments: dict[str, Any] | None = None
    _metrics_seen: CompiledMetrics | None = None
    history: History | None = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        """Choose how to train; names, config dicts, instances and callables are accepted, as in Keras.

        Compiling again starts the optimizer afresh and keeps the weights.
        """
        self.optimizer = optimizers.get(optimizer)
        self._compile_arguments = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        self._metrics_seen = None

    @property
    def compiled(self) -> bool:
        """Has `compile` been called?"""
        return self._compile_arguments is not None

    def compiled_loss(self, outputs: Any) -> CompiledLoss:
        """The losses, fitted to the structure of `outputs`."""
        arguments = self._compile_arguments or {}
        return CompiledLoss(arguments.get("loss"), arguments.get("loss_weights"), self._output_names_of(outputs))

    def compiled_metrics(self) -> tuple[Any, Any]:
        """The metrics and weighted metrics as given to `compile`."""
        arguments = self._compile_arguments or {}
        return arguments.get("metrics"), arguments.get("weighted_metrics")

    def slice_loss(
        self, loss: CompiledLoss, x: Any, y: Any, y_pred: Any, sample_weight: Any, context: CallContext
    ) -> tuple[Tensor, list[Tensor]]:
        """(the loss over one slice with everything that layers added, the loss of each output), means over its samples."""
        total, parts = loss.slice_value(y, y_pred, sample_weight, context.slice_fraction)
        for added in (*context.losses, *self.regularization_losses()):  # type: ignore[attr-defined]
            total = total + added
        return total, parts

    def metric_direction(self, name: str) -> str | None:
        """ "up" when more of the logged `name` is better, "down" when less is, None when unknown."""
        name = name.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return "down"
        return None if self._metrics_seen is None else self._metrics_seen.direction(name)

    # -- the calls ------------------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
    ) -> History:
        """Train for `epochs - initial_epoch` epochs; arguments, defaults and History as in Keras.

        Args:
            x, y: arrays, tensors, dicts or tuples of them, or a torch map-style dataset as `x` alone.
            batch_size: samples of a global batch, 32 unless told; at least the number of virtual workers.
            validation_split: the *last* fraction of the samples, taken before shuffling.

        Raises:
            DataError: data that do not fit together, or do not fit the model.
            NonFiniteLoss: the loss became NaN or infinite.
        """
        self._need_compile("fit")
        batch_size = 32 if batch_size is None else batch_size
        if class_weight is not None and sample_weight is not None:
            raise DataError("class_weight and sample_weight cannot be given together: fold one into the other.")
        source = source_of(x, y, sample_weight)
        source, validation = self._split(source, validation_split, validation_data)
        carrier = runner.current()
        virtual_workers, call = carrier.virtual_workers, carrier.next_call()
        train = BatchPlan(
            len(source), batch_size, virtual_workers, shuffle, fold_in(random_seed(), "call", call), steps_per_epoch
        )  # fmt: skip
        check_batch_size(batch_size, virtual_workers)
        plans = [(Kind.TRAIN, train)]
        sources: dict[Kind, Source] = {Kind.TRAIN: source}
        if validation is not None:
            plans.append((Kind.VALIDATE, _whole(validation, validation_batch_size or batch_size, virtual_workers, validation_steps)))
            sources[Kind.VALIDATE] = validation
        example = self._prepare(sources)
        callback_list = CallbackList(
            callbacks,
            model=self,
            params={"verbose": _verbosity(verbose), "epochs": epochs, "steps": train.steps},
            add_history=True,
            add_progbar=_verbosity(verbose) != 0,
        )
        every = {Kind.TRAIN} if callback_list.needs_every_batch else set()
        every |= {Kind.VALIDATE} if callback_list.needs_every_test_batch and validation is not None else set()
        program = Program(tuple(plans), initial_epoch, epochs, validation_freq, frozenset(every))
        job = Job("fit", self, program, sources, virtual_workers, random_seed(), example, class_weight)
        carrier.fit(job, callback_list)
        history = callback_list.history
        assert history is not None
        self.history = history
        return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or [loss, *metrics], over the samples; a dict with `return_dict=True`."""
        self._need_compile("evaluate")
        source = source_of(x, y, sample_weight)
        carrier = runner.current()
        carrier.next_call()
        plan = _whole(source, batch_size or 32, carrier.virtual_workers, steps)
        example = self._prepare({Kind.VALIDATE: source})
        program = Program(((Kind.VALIDATE, plan),), boundaries=False)
        job = Job("evaluate", self, program, {Kind.VALIDATE: source}, carrier.virtual_workers, random_seed(), example)
        callback_list = CallbackList(
            callbacks, model=self, params={"verbose": 0, "epochs": 1, "steps": plan.steps}, add_history=False, add_progbar=False
        )
        callback_list.on_test_begin()
        logs = carrier.evaluate(job)
        callback_list.on_test_end(logs)
        if _verbosity(verbose):
            print(
                " - ".join(
                    [
                        f"{plan.steps}/{plan.steps}",
                        *(f"{name}: {value:.4f}" for name, value in sorted(logs.items()) if isinstance(value, float)),
                    ]
                )
            )
        if return_dict:
            return logs
        values = [logs.pop("loss"), *logs.values()]
        return values[0] if len(values) == 1 else values

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = 0, steps: int | None = None, callbacks: Any = None
    ) -> Any:
        """The outputs for `x` as NumPy arrays, in the order of the samples; dropout is off."""
        source = source_of(x)
        carrier = runner.current()
        carrier.next_call()
        plan = _whole(source, batch_size or 32, carrier.virtual_workers, steps)
        example = self._prepare({Kind.PREDICT: source})
        program = Program(((Kind.PREDICT, plan),), boundaries=False)
        return carrier.predict(Job("predict", self, program, {Kind.PREDICT: source}, carrier.virtual_workers, random_seed(), example))

    # -- at the door ----------------------------------------------------------------------------------------------------------------

    def _need_compile(self, call: str) -> None:
        if not self.compiled:
            raise UsageError(f"{call}() needs a compiled model.\n  try  model.compile(optimizer='adam', loss='mse') before {call}()")

    def _split(self, source: Source, validation_split: float, validation_data: Any) -> tuple[Source, Source | None]:
        if validation_data is not None:
            if isinstance(validation_data, tuple) and 2 <= len(validation_data) <= 3:
                return source, source_of(*validation_data, argument="validation_data")
            return source, source_of(validation_data, argument="validation_data")
        if not validation_split:
            return source, None
        if not 0.0 < validation_split < 1.0:
            raise DataError(f"validation_split={validation_split!r}: expected a fraction between 0 and 1.")
        kept = int(len(source) * (1.0 - validation_split))
        if kept == 0 or kept == len(source):
            raise DataError(f"validation_split={validation_split} of {len(source)} samples leaves nothing on one side.")
        return RangeSource(source, 0, kept), RangeSource(source, kept, len(source))

    def _prepare(self, sources: dict[Kind, Source]) -> tuple[Any, Any]:
        """Build the model on one sample and check what can be checked before any step; returns that sample's (x, y)."""
        first = next(iter(sources.values()))
        device = runner.device_of(self)
        with torch.no_grad(), runner.kept_generators():  # a dataset's __getitem__ may draw, and fetching seeds what it draws from
            x, y, _ = first.fetch(np.zeros(1, dtype=np.int64), 0)
            outputs = self(map_structure(lambda t: t.to(device), x))  # type: ignore[operator]
        if self.compiled:
            loss = self.compiled_loss(outputs)
            if y is None and any(entry is not None for entry in loss.losses) and Kind.PREDICT not in sources:
                raise DataError("y is missing, and the compiled loss needs it.")
            for source in sources.values():
                while isinstance(source, RangeSource):
                    source = source.source
                if isinstance(source, ArraySource):
                    loss.check_targets(source.y, outputs)
            self._metrics_seen = (
                CompiledMetrics(*self.compiled_metrics(), loss, y, outputs) if Kind.PREDICT not in sources else self._metrics_seen
            )
        return x, y

    def _output_names_of(self, outputs: Any) -> list[str]:
        names = getattr(self, "output_names", None)
        if names:
            return list(names)
        if isinstance(outputs, dict):
            return sorted(outputs)
        if isinstance(outputs, list | tuple):
            return [f"output_{number + 1}" for number in range(len(outputs))]
        return ["output"]


def _whole(source: Source, batch_size: int, virtual_workers: int, steps: int | None) -> BatchPlan:
    """All of a source, in order."""
    return BatchPlan(len(source), batch_size, virtual_workers, steps_per_epoch=steps)


def _verbosity(verbose: str | int) -> int:
    return 1 if verbose == "auto" else int(verbose)
