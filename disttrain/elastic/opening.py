"""Opening a job: unpack it, build the engine where it is to compute, and compute a slice where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from disttrain.clock import Clock
from disttrain.elastic import devices
from disttrain.elastic import messages as m
from disttrain.elastic.room import with_room
from disttrain.training.device_errors import in_words
from disttrain.training.device_memory import read_memory
from disttrain.training.job import Job
from disttrain.training.step.engine import Engine
from disttrain.training.step.probe import probe
from disttrain.training.step.state_digest import StateDigest


@dataclass
class Opened:
    """What came of it, and for how many seconds each part took."""

    engine: Engine
    probe: StateDigest | None = None
    timings: dict[str, float] = field(default_factory=dict)


def opened(open_job: Callable[[], Job], settings: m.CallSettings, clock: Clock) -> Opened:
    """The job, ready to step.

    Raises:
        OutOfDeviceMemory: it does not fit on the GPU, and nobody else holds what it lacks.
    """
    jobs: list[Job] = []

    def work() -> Opened:
        started = clock.monotonic_s()
        job = open_job()
        jobs[:] = [job]
        unpacked = clock.monotonic_s()
        result = Opened(engine_of(job, settings))
        built = clock.monotonic_s()
        result.probe = probe(result.engine) if settings.probes else None
        result.timings = {"open job": unpacked - started, "build engine": built - unpacked, "probe": clock.monotonic_s() - built}
        return result

    try:
        return with_room(work, settings.device, clock)
    except Exception as error:
        if settings.device == "cpu" or not jobs:
            raise
        device = devices.device_of(settings.device)
        memory = read_memory(device)
        if memory is not None and memory.others_hold and settings.gpu_share >= 1:
            raise  # the place's: it was to have all of it
        told = in_words(error, device, jobs[0], workers=1, memory=memory)
        if told is None:
            raise
        raise told from error


def engine_of(job: Job, settings: m.CallSettings) -> Engine:
    """The engine of a call, where it is to compute."""
    return Engine(job, devices.device_of(settings.device), settings.audit_share)
