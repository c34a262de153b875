"""What to choose: the goodput to expect, the checkpoint interval, the number of spares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from disttrain.simulation.account import Account
from disttrain.simulation.model import ClusterModel, Crowd
from disttrain.simulation.run import simulate

_FAILURES = 400  # in all runs of one choice together: their share of the time is then known to about a twentieth of itself
_LEAST_S = 86400.0
_ALL_LOST = 300  # the same for losses of everything, when intervals are compared
_FACTORS = tuple(2.0 ** (power / 2) for power in range(-4, 5))  # of the interval that the formula gives
_SPARES = (0, 1, 2, 4, 8)
_WORTH = 0.001  # of the time: a spare that gains less is not recommended


@dataclass(frozen=True, slots=True)
class Choice:
    """A checkpoint interval in seconds, or a number of spares, and the goodput that goes with it."""

    value: float
    goodput: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found.

    Args:
        account: of all seeds, as asked. goodput, error: its mean over the seeds, and the standard error of that.
        seeds, seconds: so many runs of so many simulated seconds.
        intervals, spares: what was compared, in order; each with the one that was asked for.
        interval_s: the best of them; None: nothing is ever redone, so no interval is better than the longest.
        formula_s: what Young's and Daly's formula says beside it.
        best_spares: the fewest that come within a thousandth of the best.
    """

    account: Account
    goodput: float
    error: float
    seeds: int
    seconds: float
    intervals: tuple[Choice, ...]
    interval_s: float | None
    formula_s: float | None
    spares: tuple[Choice, ...]
    best_spares: int


def optimum_interval_s(stall_s: float, all_lost_s: float) -> float:
    """Seconds of work between two saves, each of which stalls the work, that lose the least in all.

    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation Computer Systems 22
    (2006); its first term is J. W. Young's, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974).

    Example:
        >>> round(optimum_interval_s(0.2, 30 * 86400.0))
        1018
    """
    if stall_s >= 2 * all_lost_s:
        return all_lost_s
    half = stall_s / (2 * all_lost_s)
    return math.sqrt(2 * stall_s * all_lost_s) * (1 + math.sqrt(half) / 3 + half / 9) - stall_s


def advise(model: ClusterModel, seeds: int = 8, seconds: float | None = None) -> Advice:
    """Simulate what is asked for and its neighbours; `seconds` of each run, None: as many as give firm figures."""
    seconds = _seconds(model, seeds) if seconds is None else seconds
    accounts = _runs(model, seeds, seconds)
    goodputs = [account.goodput for account in accounts]
    goodput = statistics.mean(goodputs)
    error = statistics.stdev(goodputs) / math.sqrt(seeds) if seeds > 1 else 0.0
    spares = _compare_spares(model, seeds, seconds, goodput)
    best = max(choice.goodput for choice in spares)
    intervals = _compare_intervals(model, seeds, goodput)
    return Advice(
        account=Account.together(accounts), goodput=goodput, error=error, seeds=seeds, seconds=seconds, intervals=intervals,
        interval_s=max(intervals, key=lambda choice: choice.goodput).value if intervals else None,
        formula_s=_formula_s(model) if intervals else None, spares=spares,
        best_spares=int(next(choice.value for choice in spares if choice.goodput >= best - _WORTH)),
    )  # fmt: skip


def _runs(model: ClusterModel, seeds: int, seconds: float, crowd: Crowd | None = None) -> list[Account]:
    return [simulate(model, seconds, seed, crowd) for seed in range(seeds)]


def _seconds(model: ClusterModel, seeds: int) -> float:
    """So long that enough goes wrong in all runs together."""
    times = [time for time in (model.mtbf_s, model.outage_s) if time is not None]
    return max(_LEAST_S, min(times, default=0.0) * _FAILURES / seeds, *(100 * time for time in (model.step_s, model.checkpoint_s)))


def _compare_spares(model: ClusterModel, seeds: int, seconds: float, goodput: float) -> tuple[Choice, ...]:
    if model.mtbf_s is None:
        return (Choice(0, goodput),) if not model.spares else (Choice(0, goodput), Choice(model.spares, goodput))
    found = [Choice(model.spares, goodput)]
    for spares in _SPARES:
        if spares != model.spares:
            accounts = _runs(replace(model, spares=spares), seeds, seconds)
            found.append(Choice(spares, statistics.mean(account.goodput for account in accounts)))
    return tuple(sorted(found, key=lambda choice: choice.value))


def _formula_s(model: ClusterModel) -> float:
    """From the begin of a save to the begin of the next, which takes a step and a save at least, and the commit of the one before."""
    interval_s = optimum_interval_s(model.save_stall_s, model.all_lost_s) + model.save_stall_s
    return max(interval_s, model.step_s + model.save_stall_s, model.transfer_s + model.save_stall_s)


def _compare_intervals(model: ClusterModel, seeds: int, goodput: float) -> tuple[Choice, ...]:
    """What an interval loses shows only where everything is lost, so that alone is simulated, many times.

    The goodput of each is that of the interval asked for, and by how much the two differ there.
    """
    if math.isinf(model.all_lost_s):
        return ()
    alone = model if model.workers == 1 else replace(model, mtbf_s=None, min_workers=model.workers)
    crowd, seconds = Crowd(alone, min(4, model.workers)), model.all_lost_s * _ALL_LOST / seeds
    formula_s = _formula_s(model)
    least_s = model.save_stall_s + max(model.step_s, model.transfer_s)
    values = sorted({model.checkpoint_s, *(max(least_s, formula_s * factor) for factor in _FACTORS)})

    def of(interval_s: float) -> float:
        return statistics.mean(account.goodput for account in _runs(replace(alone, checkpoint_s=interval_s), seeds, seconds, crowd))

    asked = of(model.checkpoint_s)
    return tuple(Choice(value, goodput + (asked if value == model.checkpoint_s else of(value)) - asked) for value in values)


def neighbours(choices: Sequence[Choice], values: Sequence[float | None], around: int = 1) -> list[Choice]:
    """Those of `values` among `choices`, each with `around` on either side."""
    places = [place for place, choice in enumerate(choices) if choice.value in values]
    return [choice for place, choice in enumerate(choices) if any(abs(place - one) <= around for one in places)]
