"""A finished run, of which steps between checkpoints are computed once more."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from disttrain.cli.app import app
from disttrain.errors import UsageError
from disttrain.launch import script as script_module
from disttrain.launch.audit import audit
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.script import launch
from disttrain.testing.fake_cluster import FakeCluster, Started
from disttrain.testing.faulty_processor import PRODUCTS, OtherProcessor

SCRIPT = """
import numpy as np
import disttrain as dt
from disttrain import layers

dt.clear_session()
rng = np.random.default_rng(0)
x, y = rng.normal(size=(48, 5)).astype(np.float32), rng.integers(0, 3, 48)
model = dt.Sequential([dt.Input((5,)), layers.Dense(8, activation="relu"), layers.Dropout(0.2), layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=8, epochs=4, validation_split=0.25, verbose=0)
"""


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """(the directory of a finished run, its script)."""
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))
    script, run_dir = tmp_path / "train.py", str(tmp_path / "run")
    script.write_text(SCRIPT)
    launch(RunConfig(workers=2, run_dir=run_dir, checkpoint_every="3steps", keep=20, samples=0), str(script))
    return run_dir, str(script)


def test_every_stretch_gives_the_bits_of_the_next_checkpoint(finished):
    told: list[str] = []
    stretches = audit(*finished, (), 1.0, told.append)
    assert len(stretches) >= 4 and all(stretch.differs is None for stretch in stretches)
    assert all(line.endswith("the same bits") for line in told)
    ticks = {(stretch.first, stretch.last) for stretch in stretches}
    assert all(first < last for first, last in ticks) and len(ticks) == len(stretches)


def test_a_sample_of_them_is_one_at_least_and_programs_read_it_as_json(finished, capsys):
    app(["audit", *finished, "--sample", "1%", "--json"], standalone_mode=False)
    told = capsys.readouterr()
    (stretch,) = json.loads(told.out.splitlines()[-1])
    assert stretch["differs"] is None and stretch["first"] < stretch["last"]
    assert "the same bits" in told.err
    app(["digest", finished[0]], standalone_mode=False)
    app(["digest", finished[0], "--json"], standalone_mode=False)
    plain, found = capsys.readouterr().out.splitlines()
    assert json.loads(found) == {"path": finished[0], "digest": plain}


def test_on_a_processor_that_rounds_otherwise_the_first_tensor_is_named(finished):
    with OtherProcessor(PRODUCTS).computing():
        (stretch,) = audit(*finished, (), 0.01, lambda words: None)
    assert stretch.differs is not None and stretch.differs.split("/")[0] in ("model", "optimizer")


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    with pytest.raises(UsageError, match="no finished run"):
        audit(str(tmp_path / "run"), str(tmp_path / "train.py"), (), 0.01)
