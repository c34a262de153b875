"""What a call changes on one worker: weights, optimizers, sums, and where it stands; as values, and laid out for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from disttrain.data import residing
from disttrain.layers.layer import Layer
from disttrain.training.device_memory import read_memory
from disttrain.training.fingerprint import check_fingerprint, fingerprint
from disttrain.training.job import Job
from disttrain.training.program import Kind
from disttrain.training.step.custom_step import SUMS
from disttrain.training.step.forward import Forward
from disttrain.training.step.model_state import ModelState, OptimizerState, Slots
from disttrain.training.step.optimizer_slots import arrange_slots
from disttrain.training.step.step_owners import check_holdings, optimizers_of, schedulers_of
from disttrain.training.trainability import Frozen, Trainability


@dataclass(frozen=True, slots=True)
class StateDict:
    """The state of a call on one worker, as `Replica.state_dict` gives it and `Replica.load_state_dict` takes it.

    Args:
        tensors: `model/<weight>`, `<attribute of the optimizer>/<slot>/<weight>`, and `totals`: the float64 sums of losses and metrics
            over the running phase, what of torchmetrics is kept beside sums, and the number of samples last.
        meta: the rest, in JSON types: `tick`, `ended`, `finalized`, `train_logs` (the means of the training phase that is over),
            `optimizer` (its `state_dict()`), `other_optimizers` (those of a `train_step` of the script's own, by attribute; left out
            where there are none), `frozen` (see `Trainability`) and `call` (see `fingerprint`).
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any]


class Replica:
    """A worker's copy of the state of a call. Everything that is not in here is a function of the job.

    Attributes:
        tick: the first that is not done yet.
        ended: did the callbacks end the call before its last tick?
        trains: is the job a fit?
        train_logs: the means of the epoch's training phase, once it is over.
        state: the weights and the slots of optimizers, lying flat.
        forward: the forward pass over them.
        totals: sums of losses and metrics over the running phase, what is kept of torchmetrics that is no sum, then the samples.
        optimizer: the one whose count of updates is that of the training.
        seeds_generators: may a forward pass draw from the generators of the process, so that each slice must seed them?
    """

    def __init__(self, job: Job, device: torch.device | None = None) -> None:
        self.job, self.model = job, job.model
        self.device = device or torch.device("cpu")
        self.trains = job.kind == "fit"
        self.tick, self.ended = job.start_tick, False
        self.train_logs: dict[str, Any] = {}
        self.trainability = Trainability(self.model)
        self.seeds_generators = any(not isinstance(module, Layer) and not list(module.children()) for module in self.model.modules())
        self.optimizer: Any = None
        self._finalized, self._fingerprint = False, fingerprint(job)
        self._sources = dict(job.sources)
        if job.class_weight is None:  # else labels are looked at on the host
            memory = read_memory(self.device)
            self._sources = residing(job.sources, self.device, None if memory is None else memory.free)
        self._lay_out(None)
        self._first_rows = [rows.clone() for rows in self.state.rows] if job.kind == "predict" else []
        accumulator = self.forward.log_accumulator
        size = accumulator.width + accumulator.states + self.forward.torchmetrics.phase_size + 1
        self.totals = torch.zeros(size, dtype=torch.float64, device=self.device)

    @property
    def metric_states(self) -> Tensor:
        """The metrics' part of the totals, a view."""
        accumulator = self.forward.log_accumulator
        return self.totals[accumulator.width : accumulator.width + accumulator.states]

    # -- how it lies ----------------------------------------------------------------------------------------------------------------

    def _lay_out(self, kept: dict[str, Slots] | None) -> None:
        self.state = ModelState(self.model, self.device, trains=self.trains)
        self.forward = Forward(self.job, self.state, self.device, self._sources)
        self._schedulers = schedulers_of(self.model) if self.trains else {}
        if self.trains:
            self._take_optimizers(kept)

    def _take_optimizers(self, kept: dict[str, Slots] | None) -> None:
        """The model's optimizer for all weights, or those that a step of the script's own applies, each for its own weights."""
        script = self.forward.scripts.get(Kind.TRAIN)
        chosen: dict[str, tuple[Any, set[int]]] = {}
        if script is None:
            chosen = {"optimizer": (self.model.optimizer, set(range(len(self.state.params))))}
        else:
            for update in script.updates:
                if update.numbers and update.name != SUMS:
                    chosen.setdefault(update.name, (script.optimizers[update.name], set()))[1].update(update.numbers)
        for name, (optimizer, own) in chosen.items():
            check_holdings(name, optimizer, self.model)
            state = OptimizerState(name, optimizer, tuple(sorted(own)))
            state.arrange(self.state.params, self.state.names, self.device, None if kept is None else kept.get(name, {}))
            self.state.optimizers.append(state)
        if self.state.optimizers:
            first = next((state for state in self.state.optimizers if state.name == "optimizer"), self.state.optimizers[0])
            self.optimizer = first.optimizer
        else:
            self.optimizer = self.model.optimizer

    def rearrange(self, frozen: Frozen) -> bool:
        """Let training change other weights than before; is anything laid out anew?

        Slots stay with their weights; those of a weight that is frozen are dropped.
        """
        self.trainability.freeze(frozen)
        params = [param for param in self.model.parameters() if param.requires_grad]
        if self._is_arranged() and [id(param) for param in params] == [id(param) for param in self.state.params]:
            return False
        kept, before = {own.name: own.kept_slots() for own in self.state.optimizers}, self.state.optimizers
        self._lay_out(kept)
        if self.trains:
            taken = {own.name for own in self.state.optimizers}
            for own in before:
                if own.name not in taken:
                    arrange_slots(own.optimizer, [], [], {})
        return True

    def hold(self) -> bool:
        """Take the weights back after other code ran, such as a callback that trained the same model; is anything laid out anew?"""
        self.state.hold()
        return not self._is_arranged() and self.rearrange(self.trainability.frozen())

    def _is_arranged(self) -> bool:
        return all(own.is_arranged(self.state.names) for own in self.state.optimizers)

    # -- counters -------------------------------------------------------------------------------------------------------------------

    def main_counters(self) -> dict[str, Any]:
        """The `state_dict()` of the optimizer whose count is that of the training; empty where nothing is trained."""
        return {} if self.optimizer is None else self.optimizer.state_dict()

    def counters(self) -> dict[str, dict[str, Any]]:
        """By attribute, the `state_dict()` of the optimizers of a step of the script's own, but for the model's main one."""
        return {name: optimizer.state_dict() for name, optimizer in self._counting().items() if name != "optimizer"}

    def optimizer_called(self, name: str) -> Any:
        """The optimizer that is this attribute of the model."""
        return self._counting().get(name) or optimizers_of(self.model)[name]

    def _counting(self) -> dict[str, Any]:
        """By attribute, the optimizers that a step of the script's own may apply, those of frozen weights too, and torch's schedulers."""
        script = self.forward.scripts.get(Kind.TRAIN) if self.trains else None
        return self._schedulers if script is None else {**script.optimizers, **self._schedulers}

    def finalize(self) -> None:
        """Let the optimizers leave in the weights what they keep beside them, such as a moving average. Once, after the last step."""
        if self._finalized or not self.trains:
            return
        self._finalized = True
        for state in self.state.optimizers:
            finish = getattr(state.optimizer, "finalize_variable_values", None)
            if finish is not None:
                with torch.no_grad():
                    finish([self.state.params[number] for number in state.numbers])

    def go_back_to(self, tick: int) -> None:
        """Let a predict go on at `tick`. Row states, which nobody else knows, are those of the first batch only: then at that one."""
        self.tick = 0 if self._first_rows else tick
        with torch.no_grad():
            for rows, first in zip(self.state.rows, self._first_rows, strict=True):
                rows.copy_(first)

    # -- as values ------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """The whole state; the tensors are live views, not copies."""
        return StateDict(self._tensors(), self._meta())

    def load_state_dict(self, state: StateDict, *, strict: bool = True) -> None:
        """Copy a state in; one that is refused changes nothing.

        Args:
            state: as `state_dict` gives it; its tensors may lie anywhere.
            strict: every tensor must be there. Without, those that are not given, and an empty `meta`, leave what is here.

        Raises:
            KeyError: a tensor that this state does not have or, with `strict`, one that is missing, or a missing `meta`.
            ValueError: a tensor of another shape or dtype.
            RunMismatch: a state in the middle of a call with other data, batches or boundaries.
        """
        if strict and not state.meta:
            raise KeyError("a state to load has no meta: it is a part of one, expected the whole")
        own = self._tensors()
        differing = set(own) ^ set(state.tensors) if strict else set(state.tensors) - set(own)
        if differing:
            name, others = min(differing), len(differing) - 1
            what = "lacks" if name in own else "holds, unlike this one,"
            raise KeyError(f"a state to load {what} {name!r} (and {others} others): it is that of another model or optimizer")
        for name, value in state.tensors.items():
            if value.shape != own[name].shape:
                raise ValueError(f"a state to load: {name!r} has the shape {tuple(value.shape)}, expected {tuple(own[name].shape)}")
            if value.dtype != own[name].dtype:
                raise ValueError(f"a state to load: {name!r} has the dtype {value.dtype}, expected {own[name].dtype}")
        if state.meta:
            check_fingerprint(self.job, dict(state.meta))
        with torch.no_grad():
            for name, value in state.tensors.items():
                own[name].copy_(value)
        if state.meta:
            self._load_meta(state.meta)

    def flat_state(self) -> list[Tensor]:
        """The tensors of the state as few flat ones, for a transfer between workers that run the same job."""
        return [*self.state.flat(), self.totals]

    def _tensors(self) -> dict[str, Tensor]:
        return {**self.state.arrays(), "totals": self.totals}

    def _meta(self) -> dict[str, Any]:
        meta = {"tick": self.tick, "ended": self.ended, "train_logs": self.train_logs, "optimizer": self.main_counters()}
        others = {name: optimizer.state_dict() for name, optimizer in self._counting().items() if optimizer is not self.optimizer}
        if others:
            meta["other_optimizers"] = others
        return {**meta, "finalized": self._finalized, "frozen": self.trainability.frozen(), "call": self._fingerprint}

    def _load_meta(self, meta: Mapping[str, Any]) -> None:
        self.tick, self.ended, self.train_logs = meta["tick"], meta["ended"], meta["train_logs"]
        self._finalized = meta.get("finalized", False)
        if self.optimizer is not None:
            self.optimizer.load_state_dict(meta["optimizer"])
        for name, optimizer in self._counting().items():
            if name in meta.get("other_optimizers", {}):
                optimizer.load_state_dict(meta["other_optimizers"][name])
