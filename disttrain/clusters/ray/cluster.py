"""The Cluster port over Ray: every worker an actor, told by calls to it, heard by `hearing`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from disttrain.clock import Clock, SystemClock
from disttrain.clusters.ray import compat
from disttrain.clusters.ray.actor import GpuTerms, LeaseTerms, Stored, WorkerActor, collected, opened
from disttrain.clusters.ray.compat import WORKER_CPUS, brief
from disttrain.clusters.ray.hearing import Hearing, Worker
from disttrain.clusters.ray.lease_server import LeaseServer
from disttrain.clusters.ray.lookouts import Lookouts
from disttrain.clusters.ray.vitals import vitals_of
from disttrain.elastic.messages import Bulk, Collected, Leave

if TYPE_CHECKING:
    from disttrain.elastic.shipping import Shipment

_LEASE_S = 20.0
_ROOM_S = 2.0  # Ray is asked for its room so often, while somebody waits for it


class RayCluster:
    """Workers on Ray.

    Args:
        cpus_per_worker, gpus_per_worker: what each actor holds; Ray puts it where that is free, and waits for it if need be.
        own: on a Ray that was started for them; its CPUs are left to tasks of the script, such as Ray Data's, which wait until one is free.
        gcs_away_s: how long Ray's GCS may be away.
        environment: what their processes shall have in theirs, beside what the cluster gives them.
    """

    def __init__(
        self, cpus_per_worker: float = 1, gpus_per_worker: float = 0, *, own: bool = False, gcs_away_s: float = 0.0,
        clock: Clock | None = None, environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._resources: dict[str, Any] = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
        if own:
            self._resources |= {"num_cpus": 0, "resources": {WORKER_CPUS: cpus_per_worker}}
        if environment:
            self._resources["runtime_env"] = {"env_vars": dict(environment)}
        # One thread for each: commands stay in order, and a waiting `reports` never holds up a command.
        remote: Any = ray.remote  # its types do not know concurrency groups
        self._actor_class = remote(max_restarts=0, concurrency_groups={"commands": 1, "reports": 1})(WorkerActor)
        self._leases = LeaseServer(self.address())
        self._lookouts = Lookouts()
        self._hearing = Hearing(
            self._lookouts, clock or SystemClock(), end_for_certain=self._end_for_certain, every_second=self._leases.tend
        )
        self._vitals = vitals_of(compat.gcs_address(), compat.raylet_socket(), gcs_away_s=gcs_away_s, found=compat.end_own_gcs)
        self._started: set[str] = set()
        self._avoided: set[str] = set()
        self._left_out: tuple[str, ...] = ()
        self._own, self._clock = own, clock or SystemClock()
        self._cpus, self._asked_s = (0.0, 0.0), -_ROOM_S
        self._closed = False
        self._hearing.start()
        self._vitals.start()

    # -- the port -------------------------------------------------------------------------------------------------------------------

    def start_worker(self, worker: str) -> None:
        if worker in self._started or self._closed:
            return
        self._started.add(worker)
        terms = LeaseTerms(self._leases.address, self._leases.token, _LEASE_S)
        options = self._resources | compat.elsewhere(self._avoided)
        gpus = GpuTerms(bool(self._resources["num_gpus"]), self._left_out)
        self._hearing.add(Worker(worker, self._actor_class.options(**options).remote(worker, terms, gpus)))

    def send(self, worker: str, command: object) -> None:
        known = self._hearing.knows(worker)
        if known is not None and not self._closed:
            self._hearing.follow_command(known, known.actor.receive.options(concurrency_group="commands").remote(command))

    def reports(self, timeout_s: float) -> list[object]:
        return self._hearing.take(timeout_s)

    def wake(self) -> None:
        self._hearing.put(None)

    def collect(self, bulk: Bulk) -> None:
        if not isinstance(bulk.handle, Stored):  # it came with the report
            self._hearing.put(Collected(bulk.key, bulk.handle))
            return
        # a thread for each: a slow line holds up nobody else, and only Ray says when nothing will come any more
        threading.Thread(target=self._fetch, args=(bulk,), name=f"collect-{bulk.key}", daemon=True).start()

    def kill(self, worker: str) -> None:
        known = self._hearing.knows(worker)
        if known is not None:
            self._end_for_certain(known)
            self._hearing.lose(known, "killed by the driver, which gave it up")

    def avoid(self, hosts: Sequence[str]) -> None:
        self._avoided.update(hosts)

    def avoid_gpus(self, uuids: Sequence[str]) -> None:
        self._left_out = tuple(sorted({*self._left_out, *uuids}))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        workers = self._hearing.all()
        for known in workers:
            with contextlib.suppress(RayError):
                known.actor.receive.options(concurrency_group="commands").remote(Leave())
        self._hearing.close()
        for known in (*workers, *self._hearing.holders):
            self._end_for_certain(known)
        if self.trouble is None:
            self._lookouts.close()
        self._leases.close()
        self._vitals.close()

    # -- beyond the port ------------------------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """What of Ray itself is gone, in words; None while all is well."""
        return self._vitals.trouble

    def room(self) -> str | None:
        """Who has said nothing yet, and what Ray says of its room, in words; None where all have spoken, and on a Ray started here."""
        if self._own or self.trouble is not None:
            return None
        nowhere = [worker.name for worker in self._hearing.all() if worker.facts is None]
        if not nowhere:
            return None
        now = self._clock.monotonic_s()
        if now - self._asked_s >= _ROOM_S:
            self._cpus, self._asked_s = compat.cluster_cpus(), now
        free, held = self._cpus
        wants = self._resources["num_cpus"]
        return f"no word from {', '.join(nowhere)} yet (free CPUs {free:g} of {held:g}; a worker takes {wants:g})"

    def put(self, shipment: Shipment) -> tuple[list[Any], list[Any]]:
        """A handle to the shipment in the object store: each node fetches it once, its workers map it."""
        return [ray.put(shipment.pickled)], [ray.put(buffer) for buffer in shipment.buffers]

    def open(self, handle: Any) -> Any:
        """The job behind a handle, as workers open it."""
        return opened(handle)

    def address(self) -> str:
        """The address of this machine that workers reach."""
        return str(ray.util.get_node_ip_address())

    # -- on the way -----------------------------------------------------------------------------------------------------------------

    def _end_for_certain(self, worker: Worker) -> None:
        """Ray's way, then SIGKILL on its machine, since Ray does not end what is stopped; where neither arrives, its lease is over."""
        self._leases.fence(worker.name)
        with contextlib.suppress(RayError, ValueError):
            if self.trouble is None:  # without a GCS it would wait for minutes
                ray.kill(worker.actor, no_restart=True)
        if worker.facts is not None:
            self._lookouts.end(worker.facts)

    def _fetch(self, bulk: Bulk) -> None:
        try:
            report = Collected(bulk.key, collected(bulk.handle))
        except RayError as error:
            report = Collected(bulk.key, error=brief(error))
        except BaseException as error:  # it cannot be unpacked, or there is no memory for it
            report = Collected(bulk.key, error=f"{type(error).__name__}: {error}")
        self._hearing.put(report)
