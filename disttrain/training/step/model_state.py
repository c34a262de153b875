"""What training changes in a model: parameters, buffers and optimizer slots, laid side by side, and how buffers of slices come together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from disttrain.alignment import on_border
from disttrain.training.step.flat import FlatSpace
from disttrain.training.step.optimizer_slots import arrange_slots, slots_by_weight, trained_weights

Slots = dict[str, dict[str, Tensor]]
"""`{slot: {weight: tensor}}`."""


@dataclass
class OptimizerState:
    """An optimizer with the variables that it updates, and its slots in flat tensors.

    Args:
        name: the attribute of the model that holds it.
        optimizer: the optimizer.
        numbers: which of the model's parameters it updates.
    """

    name: str
    optimizer: Any
    numbers: tuple[int, ...]
    space: FlatSpace = field(init=False)
    flat_slots: dict[str, list[Tensor]] = field(init=False, default_factory=dict)
    places: dict[int, int] = field(init=False, default_factory=dict)

    def arrange(self, params: Sequence[nn.Parameter], names: Sequence[str], device: torch.device, kept: Slots | None = None) -> None:
        """Build the slots where they are not there yet, and lay them flat; with `kept`, build anew and take its values by name."""
        own = [params[number] for number in self.numbers]
        known = [names[number] for number in self.numbers]
        self.places = {number: place for place, number in enumerate(self.numbers)}
        self.space = FlatSpace(own, device)
        optimizer = self.optimizer
        arrange_slots(optimizer, own, known, kept)
        for slot, tensors in optimizer.slots.items():
            for tensor in tensors:
                tensor.data = tensor.data.to(device)
            self.flat_slots[slot] = FlatSpace(tensors, device).gather(tensors, device)

    def named_slots(self, names: Sequence[str]) -> dict[str, Tensor]:
        """`<attribute>/<slot>/<weight>` -> the slot's tensor."""
        return {
            f"{self.name}/{slot}/{names[number]}": tensor
            for slot, tensors in self.optimizer.slots.items()
            for number, tensor in zip(self.numbers, tensors, strict=True)
        }

    def is_arranged(self, names: Sequence[str]) -> bool:
        """Has the optimizer the slots of these variables still, or has another fit inside a callback given it others?"""
        arranged = getattr(self.optimizer, "_arranged_for", None)
        return arranged is None or arranged == tuple(names[number] for number in self.numbers)

    def kept_slots(self) -> Slots:
        """Copies of the slots as they are now."""
        return {
            slot: {weight: tensor.clone() for weight, tensor in tensors.items()}
            for slot, tensors in slots_by_weight(self.optimizer).items()
        }

    @property
    def flat(self) -> bool:
        """May the update run over flat tensors instead of variables?"""
        return bool(self.optimizer.elementwise) and not self.optimizer.needs_variables


@dataclass(frozen=True)
class Snapshot:
    """The buffers of a moment, and the parameters that a step of the script's own writes into."""

    floats: list[Tensor]
    others: list[Tensor]
    rows: list[Tensor]
    moved: list[Tensor]


class ModelState:
    """A model's weights in few tensors; the model's own become views of them.

    Buffers come together from the slices in three ways. Those of floating point, and complex ones, become their old value plus the mean
    change over the slices, weighted by samples. Others, such as counters, change as in the first slice. Row states, whose rows belong to
    the rows of the batch, take each slice's own rows.

    Attributes:
        params, names: the trainable parameters, and what they are called in `state_dict()`.
        space, flat_params: how they lie, and where.
        floats, complexes, others, rows: the buffers; floats lie flat in `flat_buffers`.
        constraints: (number of the parameter, what it becomes after an update).
        moved: the parameters that a step of the script's own writes into itself.
    """

    def __init__(self, model: nn.Module, device: torch.device, *, trains: bool = True) -> None:
        self.model, self.device = model.to(device), device
        self.params, self.names = trained_weights(model)
        for param in self.params:
            param.grad = None
        self.space = FlatSpace(self.params, device)
        # Only what is updated lies flat: an evaluation in the middle of a training leaves the weights where they are.
        self.flat_params = self.space.gather(self.params, device) if trains else [p.data for p in self.params]
        row_states = {id(buffer) for buffer in _row_buffers(model)}
        buffers = [b for _, b in sorted(model.named_buffers(), key=lambda pair: pair[0]) if b.numel()]
        self.rows = [b for b in buffers if id(b) in row_states]
        buffers = [b for b in buffers if id(b) not in row_states]
        floats = [b for b in buffers if b.is_floating_point()]
        self.complexes = [b for b in buffers if b.is_complex()]
        self.others = [b for b in buffers if not b.is_floating_point() and not b.is_complex()]
        self._floats, self._trains = floats, trains
        self.buffer_space = FlatSpace(floats, device)
        self.flat_buffers = self.buffer_space.gather(floats, device) if trains else list(floats)
        for tensor in (*model.parameters(), *model.buffers()):  # of those that do not lie flat
            values = tensor.data
            if (moved := on_border(values)) is not values:
                tensor.data = moved
        self.has_buffers = bool(floats or self.others or self.rows)
        self.constraints = _constraints(model, self.params)
        self.optimizers: list[OptimizerState] = []
        self.moved: list[nn.Parameter] = []
        self._replaced: list[tuple[nn.Module, str, Tensor]] = []
        self._given_memory: list[tuple[nn.Parameter, Tensor]] = []

    def hold(self) -> None:
        """Lay the weights flat again where somebody else, such as another fit inside a callback, has moved them; values stay."""
        if not self._trains:
            return
        for space, tensors, flats in (
            (self.space, self.params, self.flat_params),
            (self.buffer_space, self._floats, self.flat_buffers),
        ):
            _hold(space, tensors, flats)
        for state in self.optimizers:
            if state.is_arranged(self.names):
                for slot, flats in state.flat_slots.items():
                    tensors = state.optimizer.slots[slot]
                    _hold(FlatSpace(tensors, flats[0].device if flats else None), tensors, flats)

    # -- buffers --------------------------------------------------------------------------------------------------------------------

    @property
    def rows_size(self) -> int:
        """How many numbers the row states hold."""
        return sum(buffer.numel() for buffer in self.rows)

    @property
    def buffers_size(self) -> int:
        """How many numbers the other buffers hold, as they lie."""
        return sum(flat.numel() for flat in self._averaged()) + sum(buffer.numel() for buffer in self.others)

    def _averaged(self) -> list[Tensor]:
        """What becomes its old value plus the mean change: flat float buffers, and the two halves of complex ones side by side."""
        return [*self.flat_buffers, *(torch.view_as_real(buffer).reshape(-1) for buffer in self._stored_complexes())]

    def _stored_complexes(self) -> list[Tensor]:
        """The complex buffers as their memory has them: a lazily conjugated one without that, which its halves could not be seen with."""
        return [buffer.detach().conj() if buffer.is_conj() else buffer.detach() for buffer in self.complexes]

    def snapshot(self) -> Snapshot:
        """A copy of all buffers."""
        self._take_back()
        return Snapshot(
            [flat.clone() for flat in self._averaged()],
            [b.clone() for b in self.others],
            [b.clone() for b in self.rows],
            [param.detach().clone() for param in self.moved],
        )

    def copied_for_backward(self) -> AbstractContextManager[Any]:
        """Inside, in this thread, a graph keeps copies of buffers: other slices move them before its backward pass."""
        places = {tensor.untyped_storage().data_ptr() for tensor in (*self._averaged(), *self.others, *self.rows, *self.moved)}

        def pack(saved: Tensor) -> Tensor:
            kept = saved.detach()
            return kept.clone() if saved.layout is torch.strided and saved.untyped_storage().data_ptr() in places else kept

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept)

    def restore(self, before: Snapshot) -> None:
        """Put the buffers back."""
        self._take_back()
        with torch.no_grad():
            for now, then in (
                *zip(self._averaged(), before.floats, strict=True),
                *zip(self.others, before.others, strict=True),
                *zip(self.rows, before.rows, strict=True),
                *zip(self.moved, before.moved, strict=False),
            ):
                now.copy_(then)

    def note_replaced(self, buffers: Sequence[tuple[str, nn.Module, str, Tensor]]) -> list[str]:
        """Of `buffers` (path, module, name, tensor), the paths of those in whose place the module has another tensor now.

        The values of such a one are taken over from now on wherever buffers are read.
        """
        found = [(path, module, name, buffer) for path, module, name, buffer in buffers if module._buffers.get(name) is not buffer]
        known = {id(buffer) for *_, buffer in self._replaced}
        self._replaced += [(module, name, buffer) for _, module, name, buffer in found if id(buffer) not in known]
        self._take_back()
        return [path for path, *_ in found]

    def note_given_memory(self, params: Sequence[nn.Parameter]) -> None:
        """Code gives these parameters other memory (`p.data = ...`): its values are taken over likewise."""
        known = {id(param) for param, _ in self._given_memory}
        self._given_memory += [(param, param.data) for param in params if id(param) not in known]

    def _take_back(self) -> None:
        """Take over what code has put in the place of buffers, and of the memory of parameters."""
        with torch.no_grad():
            for module, name, buffer in self._replaced:
                now = module._buffers.get(name)
                if now is not buffer:
                    if now is not None:
                        buffer.copy_(now.detach())
                    module._buffers[name] = buffer
            for param, memory in self._given_memory:
                if param.data_ptr() != memory.data_ptr():
                    memory.copy_(param.data)
                    param.data = memory

    def write_changes(self, target: Tensor, before: Snapshot, samples: int, *, first: bool) -> None:
        """A slice's part of the float and other buffers, as float64, into `target`, which is zero."""
        self._take_back()
        at = 0
        for flat, old in zip(self._averaged(), before.floats, strict=True):
            target[at : at + flat.numel()] = (flat.double() - old.double()) * samples  # divided by the batch's count once, after the sum
            at += flat.numel()
        if first:  # counters and the like: those of the first slice, which every batch has
            for buffer, old in zip(self.others, before.others, strict=True):
                target[at : at + buffer.numel()] = (buffer.long() - old.long()).double().reshape(-1)
                at += buffer.numel()

    def read_changes(self, source: Tensor, before: Snapshot, samples: int) -> None:
        """Every float and other buffer becomes its old value plus what the slices added."""
        at = 0
        for flat, old in zip(self._averaged(), before.floats, strict=True):
            flat.copy_(old.double() + source[at : at + flat.numel()] / samples)
            at += flat.numel()
        for buffer, old in zip(self.others, before.others, strict=True):
            buffer.copy_((old.long() + source[at : at + buffer.numel()].long().reshape(old.shape)).to(buffer.dtype))
            at += buffer.numel()

    def write_rows(self, target: Tensor, first: int, stop: int) -> None:
        """The rows [first, stop) of the row states into `target`, which is zero: a sum with the other slices' puts all together."""
        at = 0
        for buffer in self.rows:
            target[at : at + buffer.numel()].view(buffer.shape)[first:stop] = buffer[first:stop].double()
            at += buffer.numel()

    def read_rows(self, source: Tensor) -> None:
        """The row states of the whole batch."""
        at = 0
        for buffer in self.rows:
            buffer.copy_(source[at : at + buffer.numel()].view(buffer.shape).to(buffer.dtype))
            at += buffer.numel()

    # -- updates --------------------------------------------------------------------------------------------------------------------

    def constrain(self, numbers: Sequence[int] | None = None) -> None:
        """Apply the constraints of all parameters, or of those of these numbers."""
        for number, constraint in self.constraints:
            if numbers is None or number in numbers:
                param = self.params[number]
                param.copy_(constraint(param.detach()))

    # -- as arrays ------------------------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Tensor]:
        """`model/...` and `<optimizer>/<slot>/...`; live views, not copies."""
        named = {f"model/{name}": tensor.detach() for name, tensor in self.model.named_weights()}  # type: ignore[operator]
        for state in self.optimizers:
            named.update(state.named_slots(self.names))
        return named

    def flat(self) -> list[Tensor]:
        """All of it as few tensors."""
        frozen = [p.data for p in self.model.parameters() if not p.requires_grad]
        slots = [flat for state in self.optimizers for name in sorted(state.flat_slots) for flat in state.flat_slots[name]]
        return [*self.flat_params, *self.flat_buffers, *self._stored_complexes(), *self.others, *self.rows, *slots, *frozen]


def _row_buffers(model: nn.Module) -> list[Tensor]:
    """The buffers whose rows belong to the rows of the batch."""
    found: dict[int, Tensor] = {}
    for module in model.modules():
        for name in getattr(module, "_row_states", ()):
            buffer = module._buffers[name]
            if buffer is not None:
                found[id(buffer)] = buffer
    return list(found.values())


def _constraints(model: nn.Module, params: Sequence[nn.Parameter]) -> list[tuple[int, Any]]:
    numbers = {id(param): number for number, param in enumerate(params)}
    found: dict[int, Any] = {}
    for module in model.modules():
        for name, constraint in getattr(module, "_constraints", {}).items():
            number = numbers.get(id(module._parameters.get(name)))
            if number is not None:
                found.setdefault(number, constraint)
    return list(found.items())


def _hold(space: FlatSpace, tensors: Sequence[Tensor], flats: Sequence[Tensor]) -> None:
    for tensor, view in zip(tensors, space.views(flats), strict=True):
        if tensor.data_ptr() != view.data_ptr():
            view.copy_(tensor.detach())
            tensor.data = view


@contextmanager
def kept_rows(model: nn.Module) -> Iterator[None]:
    """Put row states back at the end of the block; those that came into being in it, to zeros."""
    before = {id(buffer): buffer.clone() for buffer in _row_buffers(model)}
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer in _row_buffers(model):
                buffer.copy_(before[id(buffer)]) if id(buffer) in before else buffer.zero_()
