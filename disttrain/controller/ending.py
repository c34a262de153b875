"""What a call that cannot go on raises."""

from __future__ import annotations

from disttrain import orchestrator as o
from disttrain.elastic import messages as m
from disttrain.errors import DisttrainError, InfrastructureError, NotEnoughWorkers, PoisonBatch
from disttrain.training.program import Kind, Program


def given_up(effect: o.GiveUp, program: Program) -> DisttrainError:
    """The error of what the orchestrator gave up for; one of a poisoned batch names its samples."""
    if effect.kind == "poison":
        plan, position = program.plans[0][1], program.at(effect.tick or 0)
        where = ""
        if position.kind is Kind.TRAIN:
            indices = plan.indices(position.epoch, position.step)
            where = f"\n  samples   of epoch {position.epoch + 1}, batch {position.step + 1}: {indices.tolist()[:32]}"
        return PoisonBatch(f"{effect.message}{where}")
    if effect.kind in ("not_enough_workers", "start_failed"):
        return NotEnoughWorkers(effect.message)
    return InfrastructureError(effect.message)


def user_error(failed: m.Failed) -> BaseException:
    """What the script's own code raised in a worker, with the traceback it had there."""
    error = failed.error
    if not isinstance(error, Exception):
        # None: it does not travel. SystemExit and its kin would end the driver as if the script had asked for that there.
        error = RuntimeError(failed.traceback.strip().splitlines()[-1])
    error.worker_traceback = failed.traceback  # type: ignore[attr-defined]
    return error


def headline(failed: m.Failed) -> str:
    """What went wrong in a worker, in a line."""
    if isinstance(failed.error, DisttrainError):
        return str(failed.error).splitlines()[0]
    return failed.traceback.strip().splitlines()[-1]
