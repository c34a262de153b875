"""One lookout for each node that workers run on: this process itself for its own, an actor that holds no CPU elsewhere."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from disttrain.clusters.ray import lookout
from disttrain.clusters.ray.lookout import Lookout, ProcessFacts


class Lookouts:
    """Started as workers introduce themselves, so that an answer takes milliseconds when it is needed."""

    def __init__(self) -> None:
        self._actors: dict[str, Any] = {}
        self._here: set[ProcessFacts] = set()

    def post(self, facts: ProcessFacts) -> None:
        """Be ready for questions about that process."""
        # The same node is not enough: driver and worker may be in different containers there, and count their processes apart.
        if facts.started and facts.node == ray.get_runtime_context().get_node_id() and lookout.start_of(facts.pid) == facts.started:
            self._here.add(facts)
        elif facts.node not in self._actors:
            affinity = NodeAffinitySchedulingStrategy(facts.node, soft=False)
            remote: Any = ray.remote
            self._actors[facts.node] = remote(num_cpus=0, max_restarts=-1)(Lookout).options(scheduling_strategy=affinity).remote()

    def sees(self, facts: ProcessFacts) -> bool:
        """Can this process look for itself?"""
        return facts in self._here

    def ask(self, question: str, facts: ProcessFacts) -> Any:
        """A call under way to the lookout over there: "condition_of" or "findings"; its answer, or a RayError, comes some day."""
        return getattr(self._actors[facts.node], question).remote(facts)

    def end(self, facts: ProcessFacts) -> None:
        """SIGKILL."""
        if self.sees(facts):
            lookout.end(facts)
        else:
            with contextlib.suppress(RayError):  # the node is gone; the worker's lease ends it there
                self._actors[facts.node].end.remote(facts)

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors.values():
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor, no_restart=True)
        self._actors.clear()
