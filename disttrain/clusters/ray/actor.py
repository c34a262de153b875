"""The process of a worker: an actor that hands commands to its `Member` and holds the reports until the driver asks for them."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
import ray

from disttrain.clock import Clock, SystemClock
from disttrain.clusters.ray import compat
from disttrain.clusters.ray.breakpoints import refuse_breakpoints
from disttrain.clusters.ray.last_words import Testament
from disttrain.clusters.ray.lease import Lease
from disttrain.clusters.ray.lookout import ProcessFacts, oom_kills, start_of
from disttrain.clusters.ray.own_signals import let_children_hear
from disttrain.clusters.ray.prints import Prints, listen_to_this_process
from disttrain.clusters.ray.reasons import LEASE_OVER, PLACE_FAILED
from disttrain.devices.drivers import gpu_uuid, hide_gpus
from disttrain.elastic.messages import Bulk, Leave, PlaceFailed

if TYPE_CHECKING:
    from disttrain.elastic.failing import Failure

_INLINE_BYTES = 64 << 10  # Ray carries answers of up to 100 KB in the reply itself
_OOM_EVERY_S = 1.0
_LAST_REPORT_S = 5.0  # a report is fetched within milliseconds; the driver ends this process then, if it hears of it
_end_process = os._exit  # as it is, before it is made to leave word for the script's code that calls it


@dataclass(frozen=True, slots=True)
class Stored:
    """The handle of a `Bulk` that lies in the object store. Ray does not fetch what it finds inside a value."""

    ref: Any


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Where a worker asks for its lease, with what, and how long one grant is good for."""

    address: tuple[str, int]
    token: str
    length_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """To one `reports` call. `oom_kills` as in `ProcessFacts`, by now."""

    reports: list[object]
    oom_kills: int | None


@dataclass(frozen=True, slots=True)
class GpuTerms:
    """Does a worker compute on a GPU, and which are left out, by UUID."""

    uses: bool = False
    left_out: tuple[str, ...] = ()


class WorkerActor:
    """One worker. The driver always has one `reports` call waiting here: it carries the reports, and that it comes back is the heartbeat.

    Args:
        name: what the driver calls this worker.
        lease: without a grant for so long, the process ends itself: whoever was cut off must not go on writing.
        gpus: whether it sees any.
    """

    def __init__(self, name: str, lease: LeaseTerms, gpus: GpuTerms) -> None:
        self._testament = Testament(compat.logs_folder())
        self._lease = Lease(name, lease.address, lease.token, lease.length_s, self._lease_is_over)
        self._lease.start()  # before everything that takes long
        if not gpus.uses:
            hide_gpus()  # before anybody could use one
        own = gpu_uuid() if gpus.uses and gpus.left_out else ""
        self._holds = own if own in gpus.left_out else ""
        from disttrain.elastic.member import Member  # late: the driver creates actors before it has loaded torch

        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._clock: Clock = SystemClock()
        self._oom_kills, self._oom_read = oom_kills(), self._clock.monotonic_s()
        self._prints = Prints(name, lambda: self._outbox.put(None))
        listen_to_this_process(self._prints)
        refuse_breakpoints()
        self._member = Member(name, self._outbox.put, opened, ship=ship, end=self._end, end_process=self._lease_is_over)
        if not self._holds:
            threading.Thread(target=self._run_member, name="member", daemon=True).start()

    def _run_member(self) -> None:
        """All its life. Without this thread nobody obeys, while others go on to renew the lease and to tell beats."""
        try:
            let_children_hear()
            self._member.run()
        except BaseException as error:
            self._testament.write(f"the worker's own thread failed: {type(error).__name__}: {error}")
            _end_process(1)

    def introduce(self) -> ProcessFacts:
        """This process, and where it runs."""
        node = ray.get_runtime_context().get_node_id()
        return ProcessFacts(os.getpid(), start_of(os.getpid()), node, self._testament.path, self._oom_kills, self._holds)

    def receive(self, command: object) -> None:
        """Take a command; returns at once."""
        self._member.receive(command)
        if isinstance(command, Leave):
            threading.Timer(0.2, _end_process, (0,)).start()

    def reports(self, wait_s: float) -> Answer:
        """Everything to report since the last call; waits up to `wait_s` for the first. What was printed comes first."""
        found: list[object] = []
        try:
            found.append(self._outbox.get(timeout=wait_s))
            while True:
                found.append(self._outbox.get_nowait())
        except queue.Empty:
            pass
        now = self._clock.monotonic_s()
        if now - self._oom_read >= _OOM_EVERY_S:
            self._oom_kills, self._oom_read = oom_kills(), now
        return Answer([*self._prints.take(), *(report for report in found if report is not None)], self._oom_kills)

    def _end(self, failure: Failure) -> None:
        """The member can go on no more; a last report is fetched first."""
        self._testament.write((PLACE_FAILED if isinstance(failure.report, PlaceFailed) else "") + (failure.ends or ""))
        if failure.report is None:
            _end_process(1)
        threading.Timer(_LAST_REPORT_S, _end_process, (1,)).start()

    def _lease_is_over(self, reason: str) -> None:
        """It is cut off, or nothing else lets go of its GPU: an ordinary loss, and no fault of its code."""
        self._testament.write(LEASE_OVER + reason)
        _end_process(1)


def ship(key: str, value: Any) -> Bulk:
    """`value` where the driver can collect it: in the object store, or in the message itself where it is small."""
    nbytes = _size(value)
    if nbytes <= _INLINE_BYTES:
        return Bulk(key, nbytes, value)
    return Bulk(key, nbytes, Stored(ray.put(value)))


def collected(handle: Stored) -> Any:
    """What `ship` put there; waits for it to arrive, however long that takes."""
    return ray.get(handle.ref)


def _size(value: Any) -> int:
    """Bytes of its pickle; no array is copied for that."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(pickled) + sum(buffer.raw().nbytes for buffer in buffers)


def opened(handle: Any) -> Any:
    """The job behind a handle: arrays stay where Ray mapped them."""
    from disttrain.elastic.shipping import Shipment, unpack  # late: brings torch

    (pickled,), buffers = ray.get(handle[0]), handle[1]
    return unpack(Shipment(pickled, ray.get(buffers) if buffers else []))
