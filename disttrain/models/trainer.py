"""compile, fit, evaluate and predict: what turns a model into a call, and nothing of how the call is carried out."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch

from disttrain import optimizers
from disttrain.callbacks import CallbackList, History
from disttrain.callbacks.callback_list import ending_at_nan
from disttrain.data import ArraySource, BatchPlan, Feed, StreamFeed, StreamPlan, example_of, feed_of, map_structure
from disttrain.data.plan import check_batch_size
from disttrain.errors import UsageError
from disttrain.layers import torch_children
from disttrain.layers.context import CallContext, call_context
from disttrain.losses.targets import infinite_targets
from disttrain.metrics import Mean
from disttrain.models.call_differences import Identity
from disttrain.models.data_arguments import (
    array_targets,
    check_class_weight,
    check_passes,
    check_row_states,
    check_text,
    check_validation_freq,
    choose_bad_samples,
    missing_targets,
    refuse_two_losses,
    training_feeds,
)
from disttrain.models.going_on import carry_fit
from disttrain.models.on_batch import OnBatch, predict_one_batch
from disttrain.models.torch_wrappers import refuse_wrappers
from disttrain.models.train_step import TrainStep
from disttrain.models.trained_pictures import note_of
from disttrain.seeds import fold_in, random_seed
from disttrain.training.compiled.loss import CompiledLoss
from disttrain.training.compiled.metrics import CompiledMetrics
from disttrain.training.compiled.own_metrics import check_own_metrics, is_own
from disttrain.training.job import Job
from disttrain.training.local import runner
from disttrain.training.program import Kind, Program
from disttrain.training.step.losses_by_slice import SAMPLES, tell_of_losses_by_slice, tell_of_own_loss, wants_several
from disttrain.training.step.model_state import kept_rows


class Trainer(TrainStep):
    """The training half of a model. `Model` is this and a `Layer`."""

    optimizer: Any = None
    stop_training: bool = False
    stop_evaluating: bool = False
    stop_predicting: bool = False
    run_eagerly: bool = False
    jit_compile: bool = False
    steps_per_execution: int = 1
    history: History | None = None
    _on_batch: OnBatch | None = None
    trained_pictures: dict[str, Any] | None = None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how to train; names, config dicts, instances and callables are accepted, as in Keras.

        Compiling again starts the optimizer and the metrics afresh and keeps the weights.

        Args:
            optimizer: such as `"adam"`, of `disttrain.optimizers`, or one of torch's over this model's parameters.
            loss: one for all outputs, a list, a dict by output name or the outputs' structure; None for an output without a loss.
            loss_weights: numbers in the same ways.
            metrics, weighted_metrics: a list, or a list for each output; sample weights reach the loss and `weighted_metrics`.
            run_eagerly: never compile the forward pass.
            steps_per_execution: callbacks' batch hooks are called after every so many batches.
            jit_compile: True compiles forward pass and loss with torch.compile, which takes seconds at first; "auto" does not.
            auto_scale_loss: under the policy `mixed_float16`, wrap the optimizer in a `LossScaleOptimizer`.

        Raises:
            ValueError: a name that is not known, arguments of another kind.
        """
        if isinstance(steps_per_execution, bool) or not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise UsageError(f"compile(steps_per_execution={steps_per_execution!r}): expected an integer of 1 or more.")
        if jit_compile not in (True, False, None, "auto"):
            raise UsageError(f"compile(jit_compile={jit_compile!r}): expected True, False or 'auto'.")
        if jit_compile is True and run_eagerly:
            warnings.warn("compile(run_eagerly=True, jit_compile=True): run_eagerly wins, nothing is compiled.", stacklevel=2)
        chosen = optimizers.get(optimizer)
        policy = getattr(self, "dtype_policy", None)
        if auto_scale_loss and chosen is not None and getattr(policy, "name", None) == "mixed_float16":
            chosen = chosen if isinstance(chosen, optimizers.LossScaleOptimizer) else optimizers.LossScaleOptimizer(chosen)
            if isinstance(chosen.inner_optimizer, optimizers.TorchOptimizer):
                raise UsageError(
                    "compile(optimizer=...) under the policy mixed_float16: the loss must be scaled, of which none of torch's knows.\n"
                    "  expected  one of disttrain.optimizers\n  try       the policy mixed_bfloat16, which needs no scaling"
                )
        self.optimizer = chosen
        self.run_eagerly, self.steps_per_execution = bool(run_eagerly), steps_per_execution
        self.jit_compile = jit_compile is True and not run_eagerly
        self._compile_arguments = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        self._compile_loss = CompiledLoss(loss, loss_weights)
        self._compile_metrics = CompiledMetrics(metrics, weighted_metrics)
        self._loss_tracker, self._output_trackers = Mean(name="loss"), ()
        self._on_batch = None
        self.stop_training = False

    @property
    def compiled(self) -> bool:
        """Has `compile` been called?"""
        return self._compile_arguments is not None

    def metric_direction(self, name: str) -> str | None:
        """ "up" when more of the logged `name` is better, "down" when less is, None when unknown."""
        name = name.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return "down"
        compiled = None if self._compile_metrics is None else self._compile_metrics.direction(name)
        if compiled is not None:
            return compiled
        return next((getattr(metric, "_direction", None) for metric in self.own_metrics()[0] if metric.name == name), None)

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
        *,
        on_bad_sample: str = "raise",
        resume_from: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train for `epochs - initial_epoch` epochs; arguments, defaults and History as in Keras.

        Args:
            x, y: arrays, tensors, dicts or tuples of them, `(samples, ...)`; or as `x` alone a torch dataset, a DataLoader, a PyDataset,
                an iterable of batches, a generator or a function that makes one.
            batch_size: samples of a global batch, 32 unless told; at least the number of virtual workers.
            epochs: the number of the last epoch.
            verbose: 1 or "auto" shows a bar, which moves on a terminal and in a notebook; elsewhere there is a line every few seconds. 2
                prints one plain line for each epoch, 0 nothing.
            callbacks: one, or a list; they run once, in this process. See `disttrain.callbacks`.
            validation_split: the *last* fraction of the samples, taken before shuffling.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or what `x` alone may be.
            shuffle: draw a new order for each epoch, from the run's seed; of data with an order of their own that order stays.
            class_weight: weight of each class, `{class: weight}`; 1 for those that are not named.
            sample_weight: weights of the samples, `(samples,)`, or of each of their steps, `(samples, steps)`.
            initial_epoch: epochs before it are passed over, as when a training goes on.
            steps_per_epoch: batches of an epoch; one goes on where the one before stopped. All of the data unless told.
            validation_steps: batches of a validation, all unless told.
            validation_batch_size: `batch_size` unless told.
            validation_freq: validate after every so many epochs, or after the epochs of a list, counted from 1.
            resume_from: a folder that `ModelCheckpoint` has filled, a launch's run directory, or one of their checkpoints: the fit goes on
                from there, with optimizer, callbacks, data and random numbers as they were. For a fit that a launch does not carry.
            on_bad_sample: "skip" leaves a sample of a map-style dataset that raises out of the order, for good, and says so.

        Raises:
            UsageError: the model is not compiled; an argument that cannot be, or does not go with another.
            DataError: data that do not fit together, or do not fit the model.
            NonFiniteLoss: the loss became NaN or infinite.
        """
        self._need_compile("fit")
        if not self.training:  # type: ignore[attr-defined]  # eval() of a whole model, as before predicting with it in plain torch
            self.train()  # type: ignore[attr-defined]
        check_validation_freq(validation_freq)
        feed, validation = training_feeds(x, y, sample_weight, class_weight, validation_split, validation_data)
        choose_bad_samples(on_bad_sample, feed, validation)
        carrier = runner.current()
        virtual_workers, call = carrier.virtual_workers, carrier.next_call()
        seed = fold_in(random_seed(), "call", call)
        train = feed.plan(
            batch_size, virtual_workers, shuffle=bool(shuffle), seed=seed, steps=steps_per_epoch, trains=True,
            first_epoch=initial_epoch,
        )  # fmt: skip
        check_batch_size(train.batch_size, virtual_workers, own_batches=isinstance(train, StreamPlan) and feed.whole_batches)
        check_passes(feed, train, epochs - initial_epoch)
        feeds: dict[Kind, Feed | StreamFeed] = {Kind.TRAIN: feed}
        plans = [(Kind.TRAIN, train)]
        if validation is not None:
            size = validation_batch_size or (None if validation.whole_batches or validation.batch_size is not None else batch_size)
            plans.append((Kind.VALIDATE, validation.plan(size, virtual_workers, steps=validation_steps)))
            feeds[Kind.VALIDATE] = validation
        with infinite_targets(bool(ending_at_nan(callbacks))):
            example, has_outputs = self._prepare(feeds, dict(plans), initial_epoch)
        self.trained_pictures = note_of(feed.source, example[0])
        level = verbosity(verbose)
        callback_list = CallbackList(
            callbacks,
            model=self,
            params={"verbose": level, "epochs": epochs, "steps": train.known_steps},
            add_history=True,
            add_progbar=level != 0,
        )
        every = {Kind.TRAIN} if callback_list.needs_every_batch else set()
        every |= {Kind.VALIDATE} if callback_list.needs_every_test_batch and validation is not None else set()
        program = Program(
            tuple(plans), initial_epoch, epochs, validation_freq, frozenset(every), batches_per_hook=self.steps_per_execution,
            before_validation=validation is not None and (callback_list.needs_test_boundary or Kind.VALIDATE in every),
        )  # fmt: skip
        sources = {kind: of_kind.source for kind, of_kind in feeds.items()}
        job = Job(
            "fit", self, program, sources, virtual_workers, random_seed(), example, class_weight, has_outputs,
            keeps_gradients=callback_list.needs_gradients, ends_at_nan=callback_list.ends_at_nan, call=call,
        )  # fmt: skip
        carry_fit(carrier, job, callback_list, resume_from, self._identity_of)
        torch_children.wake()
        history = callback_list.history
        assert history is not None
        self.history = history
        return history

    def _identity_of(self, job: Job) -> Identity:
        """What belongs to a call; `Model` knows."""
        raise NotImplementedError

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
        """The loss, or [loss, *metrics], over the samples; a dict with `return_dict=True`.

        Args:
            x, y, sample_weight, batch_size, verbose: as for `fit`.
            steps: batches to take, all unless told.
            callbacks: their `on_test_...` hooks are called; `model.stop_evaluating = True` ends the evaluation.
            return_dict: give `{name: value}`.

        Raises:
            UsageError: the model is not compiled.
            DataError: data that do not fit together, or do not fit the model.
        """
        self._need_compile("evaluate")
        feed = feed_of(x, y, sample_weight)
        carrier = runner.current()
        carrier.next_call()
        plan = feed.plan(batch_size, carrier.virtual_workers, steps=steps)
        example, has_outputs = self._prepare({Kind.VALIDATE: feed}, {Kind.VALIDATE: plan})
        hooks = self._call_hooks(callbacks, verbose, plan)
        program = self._call_program(Kind.VALIDATE, plan, hooks.needs_every_test_batch)
        job = Job(
            "evaluate", self, program, {Kind.VALIDATE: feed.source}, carrier.virtual_workers, random_seed(), example, None, has_outputs
        )
        logs = runner.evaluate(carrier, job, hooks)
        torch_children.wake()
        logs = dict(sorted(logs.items()))
        return logs if return_dict else self.flat_results(logs)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", steps: int | None = None, callbacks: Any = None
    ) -> Any:
        """The outputs for `x` as NumPy arrays, in the order of the samples; dropout is off.

        Args:
            x: as for `fit`; targets that a dataset brings are left alone.
            batch_size, verbose: as for `fit`.
            steps: batches to take, all unless told.
            callbacks: their `on_predict_...` hooks are called; `model.stop_predicting = True` ends the prediction.

        Raises:
            DataError: data that do not fit the model.
        """
        carrier = runner.current()
        if verbose == 0 and callbacks is None and steps is None and runner.is_plain(carrier):
            outputs = predict_one_batch(self, x, batch_size)
            if outputs is not None:
                carrier.next_call()
                return outputs
        feed = feed_of(x)
        carrier.next_call()
        plan = feed.plan(batch_size, carrier.virtual_workers, steps=steps)
        example, _ = self._prepare({Kind.PREDICT: feed}, {Kind.PREDICT: plan})
        hooks = self._call_hooks(callbacks, verbose, plan)
        program = self._call_program(Kind.PREDICT, plan, hooks.needs_every_predict_batch)
        job = Job("predict", self, program, {Kind.PREDICT: feed.source}, carrier.virtual_workers, random_seed(), example)
        outputs = runner.predict(carrier, job, hooks)
        torch_children.wake()
        return outputs

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: dict[int, float] | None = None, return_dict: bool = False
    ) -> Any:
        """One update with one batch, in this process; the loss, or [loss, *metrics], or a dict, of this batch alone, as in Keras 3.15."""
        self._need_compile("train_on_batch")
        if class_weight is not None:
            check_class_weight(class_weight, y, sample_weight)
        logs = self._batch_runner().train(x, y, sample_weight, class_weight)
        return logs if return_dict else self.flat_results(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss, or [loss, *metrics], or a dict, for one batch, without an update."""
        self._need_compile("test_on_batch")
        logs = self._batch_runner().test(x, y, sample_weight)
        return logs if return_dict else self.flat_results(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch as NumPy arrays."""
        outputs = predict_one_batch(self, x, None, whole=True)
        return self.predict(x, batch_size=len(feed_of(x)), verbose=0) if outputs is None else outputs

    # -- at the door ----------------------------------------------------------------------------------------------------------------

    def _need_compile(self, call: str) -> None:
        if not self.compiled:
            raise UsageError(f"{call}() needs a compiled model.\n  try  model.compile(optimizer='adam', loss='mse') before {call}()")

    def _call_hooks(self, callbacks: Any, verbose: str | int, plan: BatchPlan) -> CallbackList:
        """The callbacks of an evaluate or predict. A list that `fit` made is used as it is, as in Keras."""
        if isinstance(callbacks, CallbackList):
            return callbacks
        level = verbosity(verbose)
        params = {"verbose": level, "epochs": 1, "steps": plan.known_steps}
        return CallbackList(callbacks, model=self, params=params, add_history=False, add_progbar=level != 0)

    def _call_program(self, kind: Kind, plan: BatchPlan, every_batch: bool) -> Program:
        per_hook = 1 if kind is Kind.PREDICT else self.steps_per_execution
        every = frozenset({kind} if every_batch else ())
        return Program(((kind, plan),), every_batch=every, boundaries=False, batches_per_hook=per_hook)

    def _batch_runner(self) -> OnBatch:
        if self._on_batch is None or not self._on_batch.fits(self):
            self._on_batch = OnBatch(self)
        return self._on_batch

    def _prepare(self, feeds: dict[Kind, Feed | StreamFeed], plans: dict[Kind, BatchPlan], first_epoch: int = 0) -> tuple[Any, bool]:
        """Build the model on a few samples and check what can be checked before any step: ((x, y, weight) of those, has it outputs)."""
        kind, feed = next(iter(feeds.items()))
        plan = plans[kind]
        samples = self._example_size(plan, plan.batch_size if isinstance(plan, StreamPlan) else len(feed))
        with runner.kept_generators(not isinstance(feed.source, ArraySource)):
            example = example_of(feed, plan, samples, first_epoch)
        targets = [] if kind is Kind.PREDICT else [array_targets(of_kind) for of_kind in feeds.values()]
        checked = self._checked(example, targets, list(plans.values()), predicts=kind is Kind.PREDICT)
        if targets and self.compiled:
            self.compiled_loss.note_targets(targets)
            self._try_losses_and_metrics(checked[0], plan.virtual_workers)
        return checked

    def _try_losses_and_metrics(self, example: Any, slices: int) -> None:
        """What the script wrote itself: is it told what slices make of it, and do its metrics add up?"""
        metrics, overrides = self.compiled_metrics, self.overridden_steps()
        own_loss = slices > 1 and "compute_loss" in overrides
        functions = slices > 1 and not own_loss and wants_several(self.compiled_loss, metrics)
        own_metrics = metrics is not None and any(is_own(metric) for metric in metrics.metrics)
        if not (own_loss or functions or own_metrics) or "train_step" in overrides or not self._has_outputs():
            return
        with runner.kept_generators():
            x, y, _ = example
            outputs = self._example_outputs(x)
            if own_metrics and metrics is not None:
                check_own_metrics(metrics, y, outputs, in_parts=not runner.is_plain(runner.current()))
            if functions:
                tell_of_losses_by_slice(self.compiled_loss, metrics, y, outputs, slices)
            elif own_loss:
                tell_of_own_loss(self, x, y, outputs, slices)

    def prepare_batch(self, batch: tuple[Any, Any, Any], plan: BatchPlan) -> tuple[Any, bool]:
        """The same for a batch that is already there."""
        samples = self._example_size(plan, plan.samples)
        example = tuple(map_structure(lambda t: t[:samples], part) for part in batch)
        checked = self._checked(example, [batch[1]], [plan], predicts=False)
        self.compiled_loss.note_targets([None])  # the next batches have targets of their own
        return checked

    def _checked(self, example: Any, targets: list[Any], plans: list[BatchPlan], *, predicts: bool) -> tuple[Any, bool]:
        refuse_wrappers(self)  # type: ignore[arg-type]
        has_outputs = self._has_outputs()
        check_text(self, example[0])
        outputs = self._example_outputs(example[0]) if has_outputs else None
        check_row_states(self, plans)
        if self.compiled and not predicts and outputs is not None:
            loss, overrides = self.compiled_loss, self.overridden_steps()
            if not loss.empty:
                refuse_two_losses(self)
            if example[1] is None and not loss.empty and not overrides & {"compute_loss", "train_step", "test_step"}:
                raise missing_targets(example[0])
            self.build_compiled(outputs, example[1])
            for y in targets:
                loss.check_targets(y, outputs)
        return example, has_outputs

    def _example_size(self, plan: BatchPlan, samples: int) -> int:
        """One sample builds a model; a step of the script's own is tried out on a slice, row states and fixed sizes want the batch."""
        stateful = (getattr(module, "_row_states", None) or getattr(module, "stateful", False) for module in self.modules())  # type: ignore[attr-defined]
        starts = [getattr(self, "_input_layer", None), *getattr(self, "layers", ())]
        fixed = any((getattr(layer, "batch_shape", None) or (None,))[0] is not None for layer in starts)
        if fixed or any(stateful):
            return min(samples, plan.batch_size)
        if self.overridden_steps() & {"train_step", "test_step", "compute_metrics"}:
            return max(1, min(samples, plan.batch_size) // plan.virtual_workers)
        tried = plan.virtual_workers > 1 and self.compiled
        if tried and ("compute_loss" in self.overridden_steps() or wants_several(self.compiled_loss, self.compiled_metrics)):
            return min(samples, plan.batch_size, SAMPLES)
        return 1

    def _has_outputs(self) -> bool:
        """Can the model be called? One that trains by a `train_step` of its own may define no `call`."""
        code = getattr(type(self), "call", None)
        return getattr(self, "_graph", None) is not None or getattr(code, "__module__", "") != "disttrain.models.network"

    def _example_outputs(self, x: Any) -> Any:
        """The outputs for some samples; row states stay as they were."""
        device = runner.device_of(self)
        with torch.no_grad(), kept_rows(self), call_context(CallContext(training=False, key=0)):  # type: ignore[arg-type]
            outputs = self(map_structure(lambda t: t.to(device), x))  # type: ignore[operator]
        torch_children.wake()
        return outputs

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {**state, "_on_batch": None, "_of_torchmetrics": {}, "history": None}


def verbosity(verbose: str | int) -> int:
    """Keras's `verbose` as a number: "auto" shows a bar."""
    return 1 if verbose == "auto" else int(verbose)
