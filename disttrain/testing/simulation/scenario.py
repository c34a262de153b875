"""What a seed says: the run, how fast its parts are, and the faults that strike it."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from disttrain.orchestrator import RecoveryPolicy
from disttrain.testing.simulation.call import CallPlan

STAGES = ("booting", "opening", "forming", "sharing", "computing", "waiting", "copying", "writing", "boundary", "finishing", "stopping")
WORKER_FAULTS = ("die", "crash", "freeze", "vanish", "busy", "hang", "cut", "slow_link", "raise_if_new", "fail_start")
GROUP_FAULTS = ("part", "break")
DRIVER_FAULTS = ("driver_dies", "driver_stalls", "interrupt")
STORAGE_FAULTS = ("save_fails", "commit_fails", "storage_hangs")
SCRIPT_FAULTS = ("long_hook",)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        kind: "die" (SIGKILL), "crash" (by a fault of its own), "freeze" (its process is stopped), "vanish" (it does not answer, nor does
            its machine), "busy" (a long call holds the interpreter: alive, but mute), "hang" (computes for ever), "cut" (driver and
            worker cannot reach each other), "slow_link", "raise_if_new" (the script's code raises in a newcomer), "fail_start";
            "part" (the members cannot reach each other, and nobody sees it), "break" (a connection between them breaks);
            "driver_dies", "driver_stalls", "interrupt" (Ctrl-C); "save_fails", "commit_fails", "storage_hangs"; "long_hook".
        at_s: when; None: at the stage instead.
        stage, nth: when some worker comes to that stage for the nth time in the run.
        delay_s: so long afterwards.
        seconds: for so long; None: for ever.
        pick: which of the living workers, counted around; not for a fault at a stage, which strikes who is there.
    """

    kind: str
    at_s: float | None = None
    stage: str = ""
    nth: int = 0
    delay_s: float = 0.0
    seconds: float | None = None
    pick: int = 0

    def __str__(self) -> str:
        when = f"at {self.at_s:.3f} s" if self.at_s is not None else f"at {self.stage!r} number {self.nth}, {self.delay_s:.3f} s later"
        how_long = "" if self.seconds is None else f", for {self.seconds:.3f} s"
        whom = f", worker number {self.pick} of the living" if self.at_s is not None and self.kind in WORKER_FAULTS else ""
        return f"{self.kind} {when}{how_long}{whom}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run, and what befalls it. `policy` is what the run is launched with."""

    seed: int
    policy: RecoveryPolicy
    calls: tuple[CallPlan, ...]
    pace: str  # of a tick: "short", "seconds", "minutes", "tailed"
    slow_worker: int | None  # the name's number of one that takes ten times as long
    every_steps: int | None
    every_s: float | None
    every_epoch: bool
    boot_s: float
    open_s: float
    transfer_s: float
    write_s: float
    commit_s: float
    hook_s: float
    latency_s: float
    asks: float  # how often a hook looks at weights
    doubles: float  # how often a report is told twice
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        shown = [f"  {field.name} = {getattr(self, field.name)!r}" for field in fields(self) if field.name != "faults"]
        return "\n".join([*shown, f"  faults ({len(self.faults)}):", *(f"    {fault}" for fault in self.faults)])


_TICK_S = {"short": 0.05, "seconds": 1.5, "minutes": 90.0, "tailed": 0.4}
SHORTEST_TICK_S = 0.04
LONGEST_TICK_S = 200.0  # that a model of a healthy worker takes, slow ones and long tails included


def scenario_of(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"{seed}/scenario")
    workers = rng.choice((1, 2, 2, 3, 3, 4, 4, 5))
    virtual = rng.randint(workers, 8)
    pace = rng.choices(tuple(_TICK_S), (12, 3, 0.4, 2))[0]
    hang_s = rng.choice((400.0, 700.0, None)) if pace in ("minutes", "tailed") else rng.choice((90.0, 300.0, None))
    policy = RecoveryPolicy(
        workers=workers,
        virtual_workers=virtual,
        min_workers=min(rng.choice((1, 1, 1, 2, workers)), workers),
        max_workers=workers + rng.choice((0, 0, 1, 2)),
        spares=rng.choice((0, 0, 0, 1)),
        start_grace_s=rng.choice((5.0, 30.0)),
        start_limit_s=rng.choice((60.0, 300.0)),
        wait_s=rng.choice((60.0, 600.0)),
        hang_timeout_s=hang_s,
        poison_limit=rng.choice((3, 3, 5)),
    )
    calls = tuple(_call(rng, pace) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    every = rng.choice(("steps", "seconds", "epoch", "never"))
    span_s = sum(_TICK_S[pace] * plan.epochs * -(-(plan.samples + plan.validation) // plan.batch) for plan in calls) * 1.5 + 6.0
    return Scenario(
        seed=seed,
        policy=policy,
        calls=calls,
        pace=pace,
        slow_worker=rng.choice((None, None, None, 0, 1)),
        every_steps=rng.randint(1, 9) if every == "steps" else None,
        every_s=rng.uniform(0.3, span_s / 2) if every == "seconds" else None,
        every_epoch=every == "epoch",
        boot_s=rng.choice((0.3, 2.0, 20.0)),
        open_s=rng.choice((0.1, 0.1, 2.0, 50.0)),
        transfer_s=rng.choice((0.01, 0.01, 1.0, 15.0)),
        write_s=rng.choice((0.01, 0.1, 3.0)),
        commit_s=rng.choice((0.01, 0.1, 3.0)),
        hook_s=rng.choice((0.001, 0.001, 0.05, 2.0)),
        latency_s=rng.choice((0.002, 0.002, 0.02, 0.2)),
        asks=rng.choice((0.0, 0.2, 0.8)),
        doubles=rng.choice((0.0, 0.0, 0.05, 0.3)),
        faults=tuple(_fault(rng, span_s) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 6, 9)))),
    )


def tick_s(scenario: Scenario, rng: random.Random, number: int) -> float:
    """How long a worker takes for a tick."""
    seconds = _TICK_S[scenario.pace] * rng.uniform(0.8, 1.2)
    if scenario.pace == "tailed":
        seconds = 0.2 * rng.paretovariate(1.1)
    if scenario.slow_worker == number:
        seconds *= 2 if scenario.pace == "minutes" else 10
    return min(seconds, LONGEST_TICK_S)


def _call(rng: random.Random, pace: str) -> CallPlan:
    kind = rng.choices(("fit", "evaluate", "predict"), (8, 1, 1))[0]
    steps, batch = rng.randint(2, 14 if pace == "short" else 6), 8
    if kind != "fit":
        return CallPlan(kind, steps * batch - rng.randint(0, 3), batch, epochs=1, every_batch=kind == "evaluate" and rng.random() < 0.4)
    return CallPlan(
        samples=steps * batch - rng.randint(0, 7),
        batch=batch,
        validation=rng.choice((0, 0, batch, 2 * batch)),
        epochs=rng.randint(1, 4),
        every_batch=rng.random() < 0.3,
        before_validation=rng.random() < 0.3,
        stop_after=rng.choice((None, None, None, 3)),
        freeze_at=rng.choice((None, None, 1, 2)),
    )


def _fault(rng: random.Random, span_s: float) -> Fault:
    kind = rng.choices(
        (*WORKER_FAULTS, *GROUP_FAULTS, *DRIVER_FAULTS, *STORAGE_FAULTS, *SCRIPT_FAULTS),
        (12, 4, 4, 2, 4, 1, 3, 2, 2, 2, 1, 4, 3, 2, 4, 3, 2, 2, 2),
    )[0]
    seconds = {
        "freeze": rng.choice((None, None, rng.uniform(1, 60))),
        "vanish": None,
        "busy": rng.uniform(1, 90),
        "cut": rng.choice((rng.uniform(0.5, 15), rng.uniform(15, 60))),
        "slow_link": rng.uniform(1, 60),
        "driver_stalls": rng.uniform(0.5, 15),
        "save_fails": rng.uniform(0.1, 10),
        "commit_fails": rng.uniform(0.1, 10),
        "storage_hangs": rng.choice((rng.uniform(0.5, 20), rng.uniform(20, 200))),
        "long_hook": rng.choice((rng.uniform(1, 20), rng.uniform(60, 200))),
    }.get(kind)
    pick = rng.randrange(16)
    if rng.random() < 0.5:
        return Fault(kind, at_s=rng.uniform(0.0, span_s), seconds=seconds, pick=pick)
    stage = rng.choice(STAGES)
    most = {"booting": 6, "opening": 6, "forming": 8, "sharing": 6, "finishing": 4, "stopping": 6, "boundary": 20}.get(stage, 60)
    delay_s = rng.choice((0.0, 0.0, rng.uniform(0, 0.02), rng.uniform(0, 1.0)))
    return Fault(kind, stage=stage, nth=rng.randint(1, most), delay_s=delay_s, seconds=seconds, pick=pick)
