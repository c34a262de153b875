"""A worker, wherever it runs: takes commands, steps with its generation, says what happened. Knows no Ray.

One thread runs everything that touches the state. Another may call `receive` at any time; all it does besides queueing is to raise the
flag that makes a broken generation's collectives let go. A third says every second what the first one does.
"""

from __future__ import annotations

import copy
import os
import queue
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from disttrain.checkpoint.same_disk import show
from disttrain.clock import Clock, SystemClock
from disttrain.collectives import Group, GroupBroken, SoloGroup
from disttrain.data.bad_samples import BadSample
from disttrain.devices import drivers
from disttrain.elastic import messages as m
from disttrain.elastic.activity import Activity, Beating
from disttrain.elastic.devices import gpu_address
from disttrain.elastic.failing import Failure, Scene, failure_of
from disttrain.elastic.inlet import Inlets
from disttrain.elastic.meeting import torch_group
from disttrain.elastic.opening import engine_of, opened
from disttrain.elastic.outgoing import arrays_of, at_boundary, rest, state_of
from disttrain.elastic.processor import processor
from disttrain.elastic.saves_due import SavesDue, named
from disttrain.elastic.shard_writer import ShardWriter
from disttrain.elastic.to_the_end import end_this_process, tried
from disttrain.elastic.transfer import share_state
from disttrain.elastic.witness import Witness
from disttrain.training.allocator import keep_freed_memory
from disttrain.training.job import Job
from disttrain.training.program import BOUNDARIES, Kind
from disttrain.training.step.engine import Engine

MakeGroup = Callable[[m.Form, int, torch.device, threading.Event], Group]
_PACED_EVERY_S = 1.0
_PREDICTED_BYTES = 4 << 20  # outputs are sent in lots of about this size; what a lost worker had not sent is computed again


class Member:
    """One worker.

    Args:
        name: what the driver calls it.
        report: takes each report; called from the member's thread and from its writer's.
        open_job: turns the handle in `Begin` into the job.
        make_group: forms the group of a generation; the default is torch.distributed.
        ship: leaves something large where the driver can collect it; the default sends it with the report.
        clock: what time it is.
        host: the machine that it is on; the default asks.
        end: ends the process, which can go on no more; its report is on the way.
        gpu_uuid: of the GPU that it uses.
        end_process: ends this process, for the reason that it is given: where nothing else lets go of a GPU.
    """

    def __init__(
        self, name: str, report: Callable[[object], None], open_job: Callable[[Any], Job], make_group: MakeGroup | None = None, *,
        ship: Callable[[str, Any], Any] | None = None, clock: Clock | None = None, host: str | None = None,
        end: Callable[[Failure], None] | None = None, gpu_uuid: Callable[[], str] = drivers.gpu_uuid,
        end_process: Callable[[str], None] = end_this_process,
    ) -> None:  # fmt: skip
        self._end, self._uuid = end, gpu_uuid
        self.name, self._host = name, host or socket.gethostname()
        self._report, self._open_job = report, open_job
        self._make_group = make_group or partial(torch_group, end_process=end_process)
        self._ship = ship or (lambda key, value: value)
        self._shipped = 0
        self._clock = clock or SystemClock()
        self.activity = Activity(name, self._clock)
        self._inlets = Inlets(name, report, open_job, self.activity.during)
        self._lock = threading.Lock()
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._aborted: dict[tuple[int, int], threading.Event] = {}
        self._requested: dict[tuple[int, int], set[str]] = {}  # by call and generation: one may be asked before it has formed
        self._engine: Engine | None = None
        self._group: Group | None = None
        self._group_name = ""
        self._kept: tuple[str, Group] | None = None  # a group that is whole, and the name of its forming
        self._call, self._generation = -1, -1
        self._formed, self._holds_state = False, False
        self._begun: m.Begin | None = None
        self._stepped = False  # has the engine left where the call begins?
        self._witness = Witness(name, report)
        self._settings: m.CallSettings | None = None
        self._shards: ShardWriter | None = None
        self._saves_due, self._paced = SavesDue(), 0.0

    # -- from any thread ------------------------------------------------------------------------------------------------------------

    def receive(self, command: object) -> None:
        """Queue a command; an `Abort` also takes effect at once, on a thread that waits for a GPU and sees no flag, too."""
        if self._inlets.heard(command):
            return
        if isinstance(command, m.Form):
            self._flag(command.call, command.generation)
        if isinstance(command, m.Abort):
            self._flag(command.call, command.generation).set()
            with self._lock:
                if self._group is not None and (command.call, command.generation) == (self._call, self._generation):
                    tried("aborting a group", self._group.abort)
        if isinstance(command, m.Request):
            with self._lock:
                self._requested.setdefault((command.call, command.generation), set()).update(command.names)
            return
        self._inbox.put(command)

    def _flag(self, call: int, generation: int) -> threading.Event:
        return self._aborted.setdefault((call, generation), threading.Event())

    # -- the member's own thread ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Obey commands until `Leave`, or until the place can go on no more. What it raises, whoever runs it ends the process for."""
        ended: Failure | None = None
        with Beating(self.activity, self._report):
            while not isinstance(command := self._inbox.get(), m.Leave):
                try:
                    self._obey(command)
                except BaseException as error:
                    if (ended := self._went_wrong(error)) is not None:
                        break
            self._let_go_of_group()
            self._let_go_of_kept()
            rest(self._engine)
        if ended is not None and self._end is not None:
            self._end(ended)

    def _obey(self, command: object) -> None:
        match command:
            case m.Begin():
                self._begin(command)
            case m.Form() if command.call == self._call:
                self._form(command)
            case m.Abort() if command.call == self._call and command.generation == self._generation:
                self._stop("told to")
            case m.Proceed() if command.call == self._call:
                self._proceed(command)
            case m.Fetch() if command.call == self._call and self._engine is not None:
                if not self._holds_state or (command.tick is not None and self._engine.tick != command.tick):
                    return  # not where the driver's callbacks are: it asks again once a generation has formed there
                self._report(m.Fetched(self.name, self._call, command.request, self._aside(arrays_of(self._engine, command.what))))
            case m.SaveHeld() if command.call == self._call:
                self._save_held(command)
            case _:
                pass  # of an older call or generation: late, so void

    def _begin(self, command: m.Begin) -> None:
        self._leave_group()
        rest(self._engine)
        self._engine, self._call, self._generation = None, command.call, -1
        with self._lock:
            self._aborted = {key: flag for key, flag in self._aborted.items() if key[0] >= command.call}
            self._requested = {key: names for key, names in self._requested.items() if key[0] >= command.call}
        self.activity.begin_call(command.call)
        self.activity.now("opening")
        left_word = show(command.settings.proof, self.name)
        self._begun, self._settings = command, command.settings
        torch.set_num_threads(command.settings.threads)
        keep_freed_memory()
        if (settings := command.settings).run_dir is not None and self._shards is None:
            self._shards = ShardWriter(settings.run_dir, self.name, self._report, self._clock, self.activity.during, settings.access)
        found = opened(lambda: self._open_job(command.job), command.settings, self._clock)
        self._engine, self._stepped = found.engine, False
        self._inlets.begin(self._call, found.engine.job)
        self.activity.now("idle")
        device = found.engine.replica.device
        place = processor(device), self._gpu_uuid(), device.type, gpu_address(device)
        self._report(m.Ready(self.name, self._call, os.getpid(), self._host, found.timings, left_word, found.probe, *place))

    def _form(self, command: m.Form) -> None:
        if self._engine is None:
            return  # it failed to begin, and said so
        self._leave_group()
        self._generation = self.activity.generation = command.generation
        self._formed, self._saves_due = True, SavesDue()
        aborted = self._flag(command.call, command.generation)
        rank = command.members.index(self.name)
        self._witness.forming(command, rank, self._engine)
        self._holds_state = command.source is None or (command.restore is None and command.ticks[rank] is not None)
        self.activity.now("forming", command.tick)
        self._group = self._grouped(command, rank, aborted)
        self._group.on_wait = self.activity.waits
        if command.source is None and command.restore is None and self._stepped and self._engine.job.kind != "predict":
            self._begin_again()
        self._engine.skip(command.skips)
        self._inlets.form(command.placement[rank], aborted)
        self._engine.attach(self._group, command.placement)
        if self._engine.job.kind == "predict":
            self._engine.replica.go_back_to(command.tick)
        else:
            if command.frozen is not None:
                self._engine.rearrange(command.frozen)
            if command.restore is not None and rank == 0:
                assert self._shards is not None
                self.activity.now("loading", command.tick)
                self._engine.replica.load_state_dict(self._shards.load(command.restore))
            if command.source is not None:
                behind = [command.restore is not None or tick != command.tick for tick in command.ticks]
                share_state(self._engine.replica, self._group, command.source, behind, lambda: self.activity.now("receiving", command.tick))
        self._holds_state = True
        self._go()

    def _begin_again(self) -> None:
        """Back to what the call was given: what this worker has made of it since counts for nothing."""
        assert self._begun is not None
        self._engine, self._stepped = engine_of(self._open_job(self._begun.job), self._begun.settings), False
        self._inlets.begin(self._call, self._engine.job)

    def _proceed(self, command: m.Proceed) -> None:
        engine = self._engine
        if engine is None or not self._formed or engine.position.tick != command.tick:
            return  # already past it, or between generations: then rank 0 of the next one asks again
        if engine.position.kind not in BOUNDARIES:
            return
        engine.apply(command.decision)
        self._witness.arrived(engine, (self._call, self._generation))
        if command.decision.save and not engine.replica.ended:
            self._save(must=False)
        self._go()

    def _go(self) -> None:
        """Step until something outside is needed: the callbacks, a newcomer, the end."""
        engine, group, settings = self._engine, self._group, self._settings
        assert engine is not None and group is not None and settings is not None
        aborted = self._flag(self._call, self._generation)
        said, first = self._clock.monotonic_s(), True
        self._stepped = True
        key = self._call, self._generation
        with self._lock:
            requested = self._requested.setdefault(key, set())
        while True:
            position = engine.position
            if position.kind is Kind.END:
                return self._finish()
            if position.kind in BOUNDARIES:
                self.activity.now("boundary", position.tick)
                if engine.trains:
                    self._pace()
                else:
                    self._send_predictions(all_of_them=True)
                if group.rank == 0:
                    self._report(m.AtBoundary(self.name, self._call, self._generation, position.tick, *at_boundary(engine, position)))
                return
            if aborted.is_set():
                raise GroupBroken("told to")
            self.activity.begin_tick(position.tick)
            _, pause, stop, _ = agreed = engine.run_tick(position, self._saves_due.told(engine, settings, self._shards, requested))
            self.activity.end_tick()
            if position.kind is Kind.PREDICT:
                self._send_predictions(all_of_them=False)
            self._witness.stepped(engine, position, group, settings, key)
            if self._saves_due.begins(engine, settings, position.kind, agreed):
                self._save(insist=stop)
            if any(agreed):
                with self._lock:
                    requested -= named(agreed)
            if pause or stop:
                return self._stop("asked to pause" if pause else "asked to stop")
            now = self._clock.monotonic_s()
            if group.rank == 0 and (now - said >= settings.progress_every_s or first):
                said = now
                step = engine.replica.optimizer.calls if engine.trains else engine.tick
                self._report(m.Progress(self.name, self._call, self._generation, engine.tick, engine.logs(position), step))
            if engine.trains and now - self._paced >= _PACED_EVERY_S:
                self._pace()
            first = False

    def _finish(self) -> None:
        engine, group = self._engine, self._group
        assert engine is not None and group is not None
        result: dict[str, Any] | None = None
        if engine.job.kind == "predict":
            self._send_predictions(all_of_them=True)
        elif engine.trains:
            self._save(insist=True)
            if group.rank == 0:
                result = self._aside(state_of(engine))
        elif group.rank == 0:
            result = engine.results()
        rest(self._engine)
        self.activity.now("idle", engine.tick)
        self._report(m.Finished(self.name, self._call, self._generation, engine.tick, result))

    def _send_predictions(self, *, all_of_them: bool) -> None:
        assert self._engine is not None
        parts = self._engine.by_products.predictions
        if parts and (all_of_them or self._engine.by_products.predicted_bytes >= _PREDICTED_BYTES):
            self._report(m.Predicted(self.name, self._call, self._aside(parts)))
            self._engine.by_products.predictions = {}

    def _save(self, *, must: bool = True, insist: bool = False) -> None:
        if self._group is not None:
            self._save_as(self._group.rank, self._group.size, self._generation, must=must, insist=insist)

    def _save_held(self, command: m.SaveHeld) -> None:
        """Save all of the state alone, while the run waits for workers."""
        if self._engine is not None and self._engine.trains and self._holds_state and self._engine.tick == command.tick:
            self._save_as(0, 1, command.generation, insist=True)

    def _save_as(self, rank: int, size: int, generation: int, *, must: bool = True, insist: bool = False) -> None:
        if self._shards is None or self._engine is None or self._settings is None:
            return
        with self.activity.during("saving"):
            sequence, attempt = self._settings.sequence_base + self._engine.tick + 1, self._settings.attempt
            by_products = self._engine.by_products
            audits, by_products.audits_passed = by_products.audits_passed, 0
            about = {"call": self._call, "generation": generation, "attempt": attempt, "sequence": sequence}
            self._shards.save(self._engine.replica, rank, size, audits=audits, must=must, insist=insist, **about)

    def _aside(self, value: Any) -> Any:
        """Leave something that can be large where the driver collects it, so that no beat waits behind it."""
        self._shipped += 1
        return self._ship(f"{self.name}:{self._shipped}", value)

    def _pace(self) -> None:
        assert self._engine is not None
        self._paced = self._clock.monotonic_s()
        self._report(m.Timed(self.name, self._call, copy.copy(self._engine.by_products.step_times)))

    # -- the group ------------------------------------------------------------------------------------------------------------------

    def _grouped(self, command: m.Form, rank: int, aborted: threading.Event) -> Group:
        """The group of a generation: one that was kept, where the driver says so, or a new one."""
        assert self._engine is not None
        if len(command.members) == 1:
            self._let_go_of_kept()
            return SoloGroup()
        if self._kept is not None and self._kept[0] == command.group:
            (self._group_name, group), self._kept = self._kept, None
            group.rebind(aborted)
            return group
        self._let_go_of_kept()
        self._group_name = f"c{command.call}g{command.generation}"
        if command.group not in ("", self._group_name):
            raise GroupBroken(f"the group {command.group} that was to be used again is not whole")
        return self._make_group(command, rank, self._engine.replica.device, aborted)

    def _stop(self, because: str) -> None:
        if self._formed and self._engine is not None:
            self._let_go_of_group()
            self.activity.now("idle", self._engine.tick)
            tick = self._engine.tick if self._holds_state else None
            self._report(m.Stopped(self.name, self._call, self._generation, tick, because))

    def _leave_group(self) -> None:
        """Leave the generation, and keep its group for the next call if it is whole."""
        group = self._left()
        if group is not None and group.size > 1 and tried("asking whether a group is whole", getattr, group, "usable"):
            self._let_go_of_kept()
            self._kept = self._group_name, group
        elif group is not None:
            tried("closing a group", group.close)

    def _let_go_of_group(self) -> None:
        if (group := self._left()) is not None:
            tried("closing a group", group.close)

    def _left(self) -> Group | None:
        """The group of the generation, which is no longer that of this member: nobody aborts it any more."""
        with self._lock:
            group, self._group, self._formed = self._group, None, False
        return group

    def _let_go_of_kept(self) -> None:
        if self._kept is not None:
            tried("closing a group", self._kept[1].close)
            self._kept = None

    def _went_wrong(self, error: BaseException) -> Failure | None:
        """Say what has; given where this worker must end."""
        if isinstance(error, BadSample):
            self._report(m.Skipped(self.name, self._call, error.skip))
            self._stop("a sample could not be made")
            return None
        workers = 1 if self._group is None else self._group.size
        scene = Scene(self.name, self._call, self._generation, self._host, self._gpu_uuid(), workers)
        failure = failure_of(error, scene, self._engine, self._settings)
        if failure is None:
            assert isinstance(error, GroupBroken)
            if self._engine is not None:
                about = error, self._engine, self._group, (self._call, self._generation)
                tried("telling what it got before the group broke", self._witness.broke, *about)
            self._stop(f"the group broke: {str(error).splitlines()[0][:200]}")
            return None
        if failure.report is not None:
            self._report(failure.report)
        return failure if failure.ends is not None else None

    def _gpu_uuid(self) -> str:  # not of a worker on a CPU: the driver is asked, which takes time
        return "" if self._settings is None or self._settings.device == "cpu" else self._uuid()
