"""What an error makes of a worker: whose fault it is, what is said of it, and whether its process can go on."""

from __future__ import annotations

from dataclasses import dataclass

from disttrain.collectives import GroupBroken
from disttrain.devices.faults import Fault, fault_of
from disttrain.elastic import messages as m
from disttrain.elastic.shipping import travels
from disttrain.errors import OutOfDeviceMemory
from disttrain.tracebacks import own_traceback
from disttrain.training.device_errors import in_words
from disttrain.training.device_memory import let_go_of_memory, read_memory
from disttrain.training.step.engine import Engine

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """What follows.

    Args:
        report: what the driver is told; None where its process ends at once, which tells enough.
        ends: why this process ends, None where it goes on.
    """

    report: object | None
    ends: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it happened."""

    worker: str
    call: int
    generation: int
    host: str
    gpu_uuid: str
    workers: int


def failure_of(error: BaseException, scene: Scene, engine: Engine | None, settings: m.CallSettings | None) -> Failure | None:
    """What becomes of the worker; None where its group broke and nothing is wrong here."""
    fault = Fault.SCRIPT if settings is None or settings.device == "cpu" else fault_of(error)
    tick = -1 if engine is None else engine.tick
    where = scene.worker, scene.call, scene.generation
    if fault is Fault.MEMORY and isinstance(error, Exception) and settings is not None and engine is not None:
        return _out_of_memory(error, scene, engine, settings)
    if fault in (Fault.PLACE, Fault.MEMORY):
        return _place(scene, tick, _brief(error))
    if fault is Fault.CRASH:
        return Failure(None, _brief(error))
    if isinstance(error, GroupBroken) and fault is Fault.SCRIPT:
        return None
    told: BaseException = error
    if fault is Fault.ASSERT and engine is not None:
        told = in_words(error, engine.replica.device, engine.job, workers=scene.workers) or error
    report = m.Failed(*where, tick, travels(told), own_traceback(error))
    return Failure(report, _brief(error) if fault is Fault.ASSERT else None)


def _out_of_memory(error: Exception, scene: Scene, engine: Engine, settings: m.CallSettings) -> Failure:
    """The step's own, unless another process holds what this worker was to have alone."""
    device = engine.replica.device
    memory = read_memory(device)
    if memory is not None and memory.others_hold and settings.gpu_share >= 1:
        return _place(scene, engine.tick, f"{memory.device} has {memory.elsewhere >> 20:,} MiB held by another process: {_brief(error)}")
    told = in_words(error, device, engine.job, workers=scene.workers, memory=memory) or OutOfDeviceMemory(_brief(error))
    traceback = own_traceback(error)
    error.__traceback__ = None  # its frames hold the tensors of the pass
    let_go_of_memory(device)
    return Failure(m.Failed(scene.worker, scene.call, scene.generation, engine.tick, travels(told), traceback))


def _place(scene: Scene, tick: int, reason: str) -> Failure:
    report = m.PlaceFailed(scene.worker, scene.call, scene.generation, tick, reason, scene.host, scene.gpu_uuid)
    return Failure(report, reason)


def _brief(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:_LONGEST]
