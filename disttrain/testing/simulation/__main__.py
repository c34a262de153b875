"""`python -m disttrain.testing.simulation SEED`: replay one."""

from __future__ import annotations

import sys

from disttrain.testing.simulation.run import simulate
from disttrain.testing.simulation.scenario import scenario_of


def main() -> None:
    outcome = simulate(scenario_of(int(sys.argv[1])))
    print(outcome.scenario)
    for time, kind, text in outcome.said:
        print(f"{time:12.3f}  {kind:14} {text}")
    print(outcome.endings, outcome.events, f"{outcome.seconds:.1f} s")
    print(outcome.failure or "every promise was kept")


if __name__ == "__main__":
    main()
