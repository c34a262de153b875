"""A run that has trained, made on a cluster of threads in a fraction of a second."""

from __future__ import annotations

from typing import Any

import numpy as np

import disttrain as dt
from disttrain import layers
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.session import Session
from disttrain.launch.timings import Timings
from disttrain.testing.fake_cluster import FakeCluster, Started


def train(place: str, *, epochs: int = 2, script: str = "", **options: Any) -> str:
    """Train a small model; the run directory."""
    config, timings = RunConfig(run_dir=place, **options), Timings()
    start = ClusterStart(config, timings, lambda config, timings: Started(FakeCluster()))
    start.begin()
    with Session(config, enter(config, script=script, arguments=(), script_sha256=""), start, timings, script=script) as session:
        session.console.prints.add("script", "stdout", "hello")
        session.console.prints.add("w0", "stdout", "from [bold]a[/bold] worker", 0)
        model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 2), "float32"), np.ones((8, 1), "float32"), batch_size=4, epochs=epochs, verbose=0)
    return session.directory.run_dir
