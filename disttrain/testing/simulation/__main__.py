"""`python -m disttrain.testing.simulation SEED [SEED ...]`: replay, and make small what fails."""

from __future__ import annotations

import argparse

from disttrain.testing.simulation.run import Outcome, simulate
from disttrain.testing.simulation.scenario import scenario_of
from disttrain.testing.simulation.shrink import shrink


def told(outcome: Outcome) -> str:
    """Everything about a run, for people."""
    said = [f"{time:12.3f} s  {kind:12} {text}" for time, kind, text in outcome.said]
    end = f"{outcome.events} events in {outcome.seconds:.1f} simulated seconds; the driver's starts ended: {', '.join(outcome.endings)}"
    return "\n".join([str(outcome.scenario), *said, end, outcome.failure or "every promise was kept"])


def main() -> int:
    """0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m disttrain.testing.simulation", description=main.__doc__)
    parser.add_argument("seeds", type=int, nargs="+", metavar="SEED")
    parser.add_argument("--as-it-is", action="store_true", help="leave a failing scenario as large as it is")
    arguments = parser.parse_args()
    failed = 0
    for seed in arguments.seeds:
        outcome = simulate(scenario_of(seed))
        print(f"seed {seed}\n{told(outcome)}\n")
        if outcome.failure is not None:
            failed += 1
            if not arguments.as_it_is:
                print(f"seed {seed}, made small\n{told(simulate(shrink(outcome.scenario)))}\n")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
