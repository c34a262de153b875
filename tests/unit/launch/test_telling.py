"""What a person is told at the start and at the end of a run: only what the program knows."""

from __future__ import annotations

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.endings import end_lines
from disttrain.launch.session import Session
from disttrain.launch.telling import quoted
from disttrain.launch.timings import Timings
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_cluster import FakeCluster, Started


def train(place: str, **options) -> str:
    """Two epochs on a cluster of threads."""
    config, timings = RunConfig(run_dir=place, **options), Timings()
    start = ClusterStart(config, timings, lambda config, timings: Started(FakeCluster()))
    start.begin()
    with Session(config, enter(config, script="", arguments=(), script_sha256=""), start, timings) as session:
        model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 2), "float32"), np.ones((8, 1), "float32"), batch_size=4, epochs=2, verbose=0)
    return session.directory.run_dir


def test_the_start_names_the_run_the_workers_the_slices_the_data_and_where_it_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("disttrain.launch.telling.cores_here", lambda: 2)
    place = train("my run", workers=3)
    told = capsys.readouterr().out
    for words in (
        "run      my run\n", "workers  3 on this machine, 1 CPU each; V = 3 slices of each batch\n",
        "data     8 samples, 2 steps of 4 an epoch, 2 epochs\n", "from     the start\n", "disttrain view 'my run'",
        "3 workers of 1 CPU each are more than this machine's 2 cores, which they share\n",
    ):  # fmt: skip
        assert words in told
    lines = end_lines(RunDirectory(place))
    assert lines[0].startswith("done     my run holds the trained model, checkpoint step-000000000004")
    assert lines[1].startswith("export   disttrain export 'my run' --format keras") and lines[2] == "view     disttrain view 'my run'"
    assert not any("tensorboard" in line for line in lines)
    (tmp_path / "my run" / "tensorboard").mkdir()
    (tmp_path / "my run" / "tensorboard" / "events").touch()
    assert "curves   disttrain tensorboard 'my run'" in end_lines(RunDirectory(place))


def test_a_run_that_trained_nothing_is_not_said_to_hold_a_model(tmp_path):
    directory = RunDirectory(str(tmp_path))
    directory.begin(fresh=True)
    assert end_lines(directory) == []


@pytest.mark.parametrize("url", ["s3://bucket/run", "memory://a b"])
def test_an_url_is_shown_as_it_is(url):
    assert quoted(url).strip("'") == url
