"""A process group with the manners of torch's `ProcessGroupNCCL`, whose members are threads of this process and whose GPUs are none.

What it does is what `disttrain/collectives/nccl.py` says of torch 2.13. In short: `wait` only orders streams, so that an output that was
not waited for, or too early, is not there; a wait with a time limit aborts; what an abort ends is complete, with garbage and without an
error; errors come late; connecting is slow, or hangs; an abort may throw, or not return; what is aborted takes no operation.

Kernels run when somebody asks: an operation is done once all members have issued it and it has been asked for `looks` times since.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import thread_runs
import torch
import torch.distributed as dist
from torch import Tensor

from disttrain.collectives import nccl
from disttrain.collectives.nccl import Nccl
from disttrain.collectives.nccl_group import NcclGroup
from disttrain.elastic import messages as m
from disttrain.testing.fake_cluster import FormGroup

GARBAGE = 0x5A  # each byte of an output that an abort has left
_LIMIT_S = 300.0  # what hangs here ends with its test, or then


class Library:
    """Stands where `torch.distributed` does: has `ProcessGroupNCCL`, and decides how its groups behave.

    Args:
        looks: how often a kernel is asked for until it is done, once all members have issued it.
        abort: "works", "throws", or "hangs" until `let_go` is set.
        connects: whether communicators do; else their first operation waits in native code, deaf to everything, until `connects` is set.
        refusals: so often each communicator refuses its first operation, as one that still connects.
        mixes_up: what is gathered comes in another order.

    Attributes:
        history: (event, rank), in order: "made", "connected", "aborting", "aborted", "retired".
        watchdogs: groups whose environment had them start the thread that ends processes.
        on_abort: called with the rank as an abort begins.
        on_look: called with the rank before a work is asked whether it is complete.
    """

    def __init__(self, *, looks: int = 3, abort: str = "works", connects: bool = True, mixes_up: bool = False, refusals: int = 0) -> None:
        self.refusals = refusals
        self.looks, self.abort_manner, self.mixes_up = looks, abort, mixes_up
        self.connects, self.let_go = threading.Event(), threading.Event()
        if connects:
            self.connects.set()
        self.lock = threading.RLock()
        self.history: list[tuple[str, int]] = []
        self.watchdogs = 0
        self.on_abort: Callable[[int], None] = lambda rank: None
        self.on_look: Callable[[int], None] = lambda rank: None
        self.wires: dict[bytes, _Wire] = {}
        self._numbers = itertools.count(1)
        self.ProcessGroupNCCL = type("ProcessGroupNCCL", (_ProcessGroup,), {"library": self, "Options": _Options})

    def new_id(self) -> bytes:
        return f"nccl-{id(self)}-{next(self._numbers)}".encode()

    def fail(self, rank: int, words: str, wire: int = -1) -> None:
        """NCCL finds an error in the newest communicator (or in number `wire`) of that member, by itself."""
        with self.lock:
            list(self.wires.values())[wire].errors[rank] = RuntimeError(words)


class _Options:
    def __init__(self) -> None:
        self._timeout = timedelta(minutes=10)
        self.config = SimpleNamespace(blocking=1)


class _Operation:
    """What each member has issued under one number."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[Callable[[dict[int, Any]], Tensor], Tensor, Any]] = {}
        self.done = False
        self.asked = 0
        self.results: dict[int, Tensor] = {}
        self.ordered: set[int] = set()


class _Wire:
    """What the communicators of one unique id share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.operations: dict[int, _Operation] = {}
        self.aborted: set[int] = set()
        self.errors: dict[int, RuntimeError] = {}

    def advance(self, looks: int) -> None:
        """Run the kernels that can run, in their order."""
        for _, operation in sorted(self.operations.items()):
            if operation.done:
                continue
            if len(operation.parts) < self.size or self.aborted or operation.asked < looks:
                return
            operation.done = True
            sent = {rank: part for rank, (_, _, part) in operation.parts.items()}
            for rank, (receive, output, _) in operation.parts.items():
                operation.results[rank] = receive(sent).clone()
                if rank in operation.ordered:
                    output.copy_(operation.results[rank])


class _Work:
    def __init__(self, group: _ProcessGroup, number: int) -> None:
        self._group, self._number = group, number
        self._error: RuntimeError | None = None

    def is_completed(self) -> bool:
        group, wire = self._group, self._group.wire
        group.library.on_look(group.rank)
        with group.library.lock:
            operation = wire.operations[self._number]
            operation.asked += len(operation.parts) == wire.size
            wire.advance(group.library.looks)
            if operation.done or group.rank in wire.aborted:
                return True
            if self._error is None and group.rank in wire.errors:
                self._error = wire.errors[group.rank]
            return self._error is not None

    def wait(self, timeout: timedelta | None = None) -> bool:
        group = self._group
        with group.library.lock:
            self._order()
        if timeout is not None or group.blocks:
            limit = group.options._timeout if timeout is None else timeout
            pause, waited_s = threading.Event(), 0.0
            while not self.is_completed():
                if waited_s >= limit.total_seconds():  # torch counts from the issue, which is no later
                    self._error = RuntimeError(f"[Rank {group.rank}] Watchdog caught collective operation timeout before timing out.")
                    break
                pause.wait(0.001)
                waited_s += 0.001
        if self._error is not None:
            group.abort()
            raise self._error
        return True

    def exception(self) -> RuntimeError | None:
        return self._error

    def get_future_result(self) -> SimpleNamespace:
        return SimpleNamespace(done=lambda: self._error is not None)

    def _order(self) -> None:
        """From here on, the stream of who waits sees what the kernel has written; a kernel that is not done writes later."""
        rank, operation = self._group.rank, self._group.wire.operations[self._number]
        operation.ordered.add(rank)
        output = operation.parts[rank][1]
        if operation.done:
            output.copy_(operation.results[rank])
        elif rank in self._group.wire.aborted:
            _spoil(output)


def _spoil(output: Tensor) -> None:
    output.view(torch.uint8).fill_(GARBAGE)


class _ProcessGroup:
    library: Library

    def __init__(self, store: Any, rank: int, size: int, options: _Options) -> None:
        self.rank, self.size, self.options = rank, size, options
        self._store = store
        self._issued = 0
        self._connected, self._refusals = False, self.library.refusals
        self.blocks = os.environ.get("TORCH_NCCL_BLOCKING_WAIT") == "1"
        self.library.watchdogs += not self.blocks
        self.library.history.append(("made", rank))

    def eager_connect_single_device(self, device: torch.device) -> None:
        assert self.options.config.blocking == 0, "a blocking communicator connects in native code, and nobody can abort it there"
        if self.rank == 0:
            self._store.set("0", self.library.new_id())
        with self.library.lock:
            known = self.library.wires
        unique = bytes(self._store.get("0"))
        with self.library.lock:
            self.wire = known.setdefault(unique, _Wire(self.size))

    def _allgather_base(self, output: Tensor, input: Tensor, options: Any) -> _Work:
        def receive(sent: dict[int, Tensor]) -> Tensor:
            order = range(self.size) if not self.library.mixes_up else reversed(range(self.size))
            return torch.cat([sent[rank].reshape(-1) for rank in order])

        return self._issue(receive, output, input)

    def alltoall_base(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int], options: Any) -> _Work:
        def receive(sent: dict[int, tuple[Tensor, list[int]]]) -> Tensor:
            return torch.cat([sent[rank][0].split(sent[rank][1])[self.rank] for rank in range(self.size)])

        return self._issue(receive, output, (input, list(input_splits)))

    def broadcast(self, tensors: list[Tensor], options: Any) -> _Work:
        source = options.rootRank
        return self._issue(lambda sent: sent[source], tensors[0], tensors[0])

    def abort(self) -> None:
        library = self.library
        library.on_abort(self.rank)
        library.history.append(("aborting", self.rank))
        if library.abort_manner == "hangs":
            library.let_go.wait(_LIMIT_S)
        if library.abort_manner == "throws":
            raise RuntimeError("ProcessGroup abort timed out after 600000 ms")
        with library.lock:
            self.wire.aborted.add(self.rank)
            for operation in self.wire.operations.values():
                if not operation.done and self.rank in operation.ordered:
                    _spoil(operation.parts[self.rank][1])
        library.history.append(("aborted", self.rank))

    def shutdown(self) -> None:
        self.library.history.append(("retired", self.rank))

    def _issue(self, receive: Callable[[dict[int, Any]], Tensor], output: Tensor, sent: Any) -> _Work:
        if not self._connected:  # in native code, under the lock of the communicator
            self.library.connects.wait(_LIMIT_S)
            self._connected = True
            self.library.history.append(("connected", self.rank))
        if self._refusals:
            self._refusals -= 1
            raise RuntimeError("NCCL error in: ProcessGroupNCCL.cpp, NCCL operation in progress")
        with self.library.lock:
            if self.rank in self.wire.aborted:
                raise RuntimeError(f"NCCL communicator was aborted on rank {self.rank}.")
            self._issued += 1
            self.wire.operations.setdefault(self._issued, _Operation()).parts[self.rank] = (receive, output, sent)
            return _Work(self, self._issued)


class MemoryStore:
    """The store of a run as far as members of one process need it."""

    def __init__(self, store: Any = None, prefix: str = "") -> None:
        self._store, self._prefix = store or dist.HashStore(), prefix

    def under(self, prefix: str) -> MemoryStore:
        return MemoryStore(self._store, self._prefix + prefix)

    def set(self, key: str, value: str | bytes) -> None:
        self._store.set(self._prefix + key, value)

    def get(self, key: str) -> bytes:
        return bytes(self._store.get(self._prefix + key))

    def add(self, key: str, value: int) -> int:
        return int(self._store.add(self._prefix + key, value))

    def check(self, keys: list[str]) -> bool:
        return bool(self._store.check([self._prefix + key for key in keys]))

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [bytes(value) for value in self._store.multi_get([self._prefix + key for key in keys])]

    def close(self) -> None:
        return


@contextmanager
def environment(*, prepared: bool = False) -> Iterator[None]:
    """What a group over NCCL sets in the environment of its process, which here is that of all tests, is as it was afterwards.

    Args:
        prepared: it is set from the beginning, so that no test inside changes it.
    """
    names = [*nccl._ENVIRONMENT, *nccl._WISHES, "NCCL_SOCKET_IFNAME"]
    before = {name: os.environ.get(name) for name in names}
    if prepared:
        nccl.prepare_environment(None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def nccl_group(
    library: Library, store: Any, generation: str, rank: int, size: int, aborted: threading.Event, *,
    kind: type[NcclGroup] = NcclGroup, end_process: Callable[[str], None] | None = None, abort_within_s: float = 20.0,
) -> NcclGroup:  # fmt: skip
    """One member of a group over `library`."""

    def nobody_ends(reason: str) -> None:
        raise AssertionError(f"the process was to end: {reason}")

    return kind(
        store, generation, rank, size, "127.0.0.1", torch.device("cpu"), aborted, interface=None, end_process=end_process or nobody_ends,
        open_communicator=partial(Nccl, library=library), abort_within_s=abort_within_s,
    )  # fmt: skip


def members(size: int, make: Callable[[int], Any]) -> list[Any]:
    """What `make(rank)` makes for each member, each on a thread, since they wait for each other; or what it raised."""
    made: list[Any] = [None] * size

    def join(rank: int) -> None:
        try:
            made[rank] = make(rank)
        except Exception as error:
            made[rank] = error

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def nccl_groups(library: Library, size: int, flags: list[threading.Event] | None = None, **options: Any) -> list[NcclGroup]:
    """The members of a new group."""
    store, flags = MemoryStore(), flags or [threading.Event() for _ in range(size)]
    made = members(size, lambda rank: nccl_group(library, store, "g", rank, size, flags[rank], **options))
    for each in made:
        if isinstance(each, Exception):
            raise each
    return made


@contextmanager
def carrying_runs(**manners: Any) -> Iterator[list[Library]]:
    """Inside, the groups of all runs of `thread_runs` are of this kind; given the library of each run."""
    libraries: list[Library] = []

    def carried() -> FormGroup:
        library, store = Library(**manners), MemoryStore()
        libraries.append(library)

        def form(
            command: m.Form, rank: int, device: torch.device, aborted: threading.Event, end_process: Callable[[str], None]
        ) -> NcclGroup:
            generation = f"c{command.call}g{command.generation}"
            return nccl_group(library, store, generation, rank, len(command.members), aborted, end_process=end_process)

        return form

    with environment(prepared=True):
        thread_runs.carried_by = carried
        try:
            yield libraries
        finally:
            thread_runs.carried_by = None
