"""Steps: how often the host waits in one, how fast they are beside the loop that a person writes, how long a save stops them."""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from harness import Summary, paired_ratio
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import disttrain as dt
from disttrain.determinism import Numerics, settle
from disttrain.training.local import runner
from disttrain.training.program import Kind
from disttrain.training.step.engine import Engine
from gpu.models import TASKS, compiled, plain
from gpu.telling import Teller, mib

_STEPS_LOOKED_AT = 5
_TURNS = 5
_TURN_S = 0.35


def syncs(tell: Teller) -> None:
    """Host waits in a step, by where they are."""
    for name in TASKS:
        for virtual_workers in (1, 4):
            with tell.trying(f"{name}, V={virtual_workers}"):
                waits = _waits_of(tell, name, virtual_workers)
                every = sum(waits.values()) / _STEPS_LOOKED_AT
                where = "; ".join(f"{count / _STEPS_LOOKED_AT:g} x {place}" for place, count in waits.most_common(6))
                what, found = f"{name}, V={virtual_workers}: the host waits", f"{every:g} times a step ({where})"
                if tell.on_gpu:
                    tell.holds(f"{what} at most once a step", every <= 1, found)
                else:  # a look at a number of the CPU's is no wait
                    tell.measured(what, found)


def fast(tell: Teller) -> None:
    """With determinism, as it is by default."""
    _speed(tell, deterministic=True)


def fast_and_loose(tell: Teller) -> None:
    """Without."""
    _speed(tell, deterministic=False)


def saves(tell: Teller) -> None:
    """How long a save stops the training, by the size of the group; the state is that of a model with Adam."""
    from disttrain.elastic.messages import ShardWritten
    from disttrain.elastic.shard_writer import ShardWriter, state_digest

    width, depth = (4096, 6) if tell.on_gpu else (64, 2)
    dt.set_device(tell.device.type)
    model = dt.Sequential([dt.Input((width,)), *(dt.layers.Dense(width) for _ in range(depth))])
    model.compile(optimizer="adam", loss="mse")
    x = torch.zeros(8, width).numpy()
    engine = Engine(_job(model, 1, x, x, 8), tell.device)
    _run(engine, 2)
    nbytes = sum(tensor.nbytes for tensor in engine.replica.state_dict().tensors.values())
    tell.measured("the state", mib(nbytes))
    tell.measured("its digest, seconds", f"{min(tell.seconds(lambda: state_digest(engine.replica.state_dict())) for _ in range(3)):.4f}")
    reports: list[Any] = []
    for number, size in enumerate((1, 2, 4)):
        writer = ShardWriter(str(tell.folder / f"run-{number}"), "w", reports.append)
        for sequence in range(3):
            writer.save(engine.replica, 0, size, call=0, generation=sequence, attempt=1, sequence=1 + sequence)
            assert writer._writing is not None
            writer._writing.join()
        written = [report for report in reports if isinstance(report, ShardWritten)]
        reports.clear()
        failed = [report.error for report in written if report.error]
        stalls = [round(report.stall_seconds, 4) for report in written]
        tell.holds(
            f"a save of one worker of {size} is written",
            not failed,
            failed or f"training stopped for {stalls} s, the first with new memory",
        )


# -- the engine, step by step -----------------------------------------------------------------------------------------------------------


class _Captured:
    """A runner that keeps the job instead of carrying it out."""

    def __init__(self, virtual_workers: int) -> None:
        self.virtual_workers = virtual_workers

    def next_call(self) -> int:
        return 0

    def fit(self, job: Any, callbacks: Any) -> None:
        self.job = job


def _job(model: Any, virtual_workers: int, x: Any, y: Any, batch_size: int) -> Any:
    with runner.installed(_Captured(virtual_workers)) as captured:  # type: ignore[arg-type]
        model.fit(x, y, batch_size=batch_size, epochs=10_000, verbose=0)
    return captured.job  # type: ignore[attr-defined]


def _run(engine: Engine, steps: int) -> None:
    """So many steps of training; what lies between is passed over."""
    while steps:
        position = engine.position
        if position.kind is not Kind.TRAIN:
            engine._move_to(position.tick + 1, position)
            continue
        engine.run_tick(position)
        steps -= 1


def _waits_of(tell: Teller, name: str, virtual_workers: int) -> Counter[str]:
    task = TASKS[name].on(tell.device)
    engine = Engine(_job(compiled(name, metrics=["accuracy"]), virtual_workers, *task.arrays(8), task.batch_size), tell.device)
    _run(engine, 2)
    tell.synchronize()
    return _watched(tell, lambda: _run(engine, _STEPS_LOOKED_AT))


def _watched(tell: Teller, work: Callable[[], None]) -> Counter[str]:
    """Waits for the device while `work` goes on, by the line of disttrain that waits."""
    found: Counter[str] = Counter()
    if not tell.on_gpu:  # each look at a number would be one

        class Looks(TorchDispatchMode):
            def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
                if "_local_scalar_dense" in str(function):
                    found[_place()] += 1
                return function(*arguments, **(named or {}))

        with Looks():
            work()
        return found

    def heard(message: Any, *about: Any, **more: Any) -> None:
        if "called a synchronizing" in str(message):
            found[_place()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shown, warnings.showwarning = warnings.showwarning, heard
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = shown
    return found


def _place() -> str:
    frames = [frame for frame in traceback.extract_stack() if "/disttrain/" in frame.filename and "/benchmarks/" not in frame.filename]
    return f"{frames[-1].filename.rsplit('/disttrain/', 1)[-1]}:{frames[-1].lineno}" if frames else "elsewhere"


# -- speed ------------------------------------------------------------------------------------------------------------------------------


def _speed(tell: Teller, *, deterministic: bool) -> None:
    dt.set_device(tell.device.type)
    dt.set_determinism(deterministic)
    for name in TASKS:
        with tell.trying(name):
            _race(tell, name, deterministic)


def _race(tell: Teller, name: str, deterministic: bool) -> None:
    """The three ways in turns: about a third of a second each, wall clock, until the device is done."""
    settle(tell.device.type, Numerics(deterministic=deterministic))  # before cuBLAS begins, which reads the environment once
    task = TASKS[name].on(tell.device)
    probe = Plain(tell, name, 4, resident=False)
    probe.train()
    steps = max(4, min(2000, int(4 * (_TURN_S if tell.on_gpu else 0.05) / tell.seconds(probe.train))))
    x, y = task.arrays(steps)
    model = compiled(name)

    def ours() -> None:
        model.fit(x, y, batch_size=task.batch_size, epochs=1, verbose=0)

    ways = {
        "plain": Plain(tell, name, steps, resident=False).train,
        "plain, data on the device": Plain(tell, name, steps, resident=True).train,
        "disttrain": ours,
    }
    peaks = {}
    for way, work in ways.items():  # each once before it counts
        if tell.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        work()
        if tell.on_gpu:
            peaks[way] = torch.cuda.max_memory_allocated() - held
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(_TURNS if tell.on_gpu else 2):
        order = list(ways) if turn % 2 == 0 else list(reversed(ways))
        for way in order:
            settle(tell.device.type, Numerics(deterministic=deterministic))  # a fit puts back what it found
            rates[way].append(steps / tell.seconds(ways[way]))
    for way, values in rates.items():
        ratio = "" if way == "plain" else f", {paired_ratio(values, rates['plain']).text()} of plain"
        peak = f", {mib(peaks[way])} more at the peak" if way in peaks else ""
        tell.measured(f"{name}: {way}, steps/s", f"{Summary.of(values).text(0)}{ratio}{peak}")


class Plain:
    """The loop that a person writes by hand, with batches from the host's memory or with all data on the device."""

    def __init__(self, tell: Teller, name: str, steps: int, *, resident: bool) -> None:
        task = TASKS[name].on(tell.device)
        self._device, self._batch = tell.device, task.batch_size
        x, y = task.arrays(steps)
        where = self._device if resident else "cpu"
        self._x, self._y = torch.from_numpy(x).to(where), torch.from_numpy(y).to(where)
        self._model = plain(name).to(self._device)
        self._optimizer = torch.optim.Adam(self._model.parameters())
        self._loss = nn.CrossEntropyLoss()

    def train(self) -> None:
        """An epoch."""
        total = torch.zeros((), device=self._device)
        order = torch.randperm(len(self._x)).to(self._x.device)
        for start in range(0, len(self._x), self._batch):
            rows = order[start : start + self._batch]
            x, y = self._x[rows].to(self._device, non_blocking=True), self._y[rows].to(self._device, non_blocking=True)
            loss = self._loss(self._model(x), y)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        float(total)
