"""Whole runs on a real server: trained, killed, gone on with, listed, checked, thinned out, copied; with the bits of a local run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from launching import HANGS_AFTER_S, environment
from store_servers import Served
from thread_runs import AtEpoch, EveryBatch, driven, train

from disttrain import cli
from disttrain.checkpoint import Store, list_checkpoints, read_history, verify
from disttrain.rundir.checkpoint_copy import copy
from disttrain.rundir.digests import digest_of

pytestmark = [pytest.mark.stores, pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")]  # aiohttp's, of bytes


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


class Dies(Exception):
    """The driver's end."""


def test_a_run_that_loses_a_worker_and_its_driver_ends_with_the_bits_of_a_local_one(place: str, tmp_path: Path, capsys: Any) -> None:
    with driven(2, url=str(tmp_path / "local")):
        expected = train(EveryBatch())

    def die() -> None:
        raise Dies

    with pytest.raises(Dies), driven(2, url=place, every="2steps") as driver:
        train([AtEpoch(0, lambda: driver.cluster.kill("w1")), AtEpoch(1, die), EveryBatch()])
    with driven(3, url=place, every="2steps") as driver:
        assert driver.resume is not None
        assert train(EveryBatch()) == expected
    assert digest_of(place) == digest_of(str(tmp_path / "local")) == expected[0]
    _looked_at_and_copied(place, tmp_path, capsys)


def _looked_at_and_copied(place: str, tmp_path: Path, capsys: Any) -> None:
    def told(*arguments: str) -> Any:
        capsys.readouterr()
        assert run(*arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    names = [info.name for info in list_checkpoints(Store(place))]
    assert [one["name"] for one in told("checkpoints", "ls", place)] == names
    assert told("status", place)["state"] == "finished"
    assert all(one["problem"] is None for one in told("checkpoints", "verify", place))
    told("checkpoints", "prune", place, "--keep", "1")
    (kept,) = read_history(Store(place))
    assert kept == names[0]
    there, back = str(tmp_path / "copied"), f"{place}-again"
    assert copy(place, there).checkpoints == (kept,)
    assert copy(there, back).checkpoints == (kept,)
    assert verify(Store(back), kept).name == verify(Store(place), kept).name
    assert digest_of(back) == digest_of(place)
    with driven(2, url=back, every="2steps") as driver:  # the copy is gone on with: it is finished
        assert train(EveryBatch())[0] == digest_of(place)
        assert driver.events("worker lost") == []


SCRIPT = """
import numpy as np
import disttrain as dt
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 4)).astype("float32")
model = dt.Sequential([dt.Input((4,)), dt.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(x, x[:, :2], batch_size=16, epochs=2, verbose=0)
print("DONE", model.digest())
"""
SECRET = "hunter2-of-this-bucket"


@pytest.mark.ray
@pytest.mark.leaves_behind("processes")  # Ray's own end a moment after their driver
@pytest.mark.parametrize("served", ["moto"], indirect=True)
@pytest.mark.parametrize("way", ["environment", "settings"])
def test_a_launch_and_its_workers_reach_a_server_by(way: str, served: Served, tmp_path: Path) -> None:
    """What the client's own variables say, and what the settings of the launch say. No file of the run holds the secret."""
    url, options = served.at(f"launched-{way}")
    (tmp_path / "train.py").write_text(SCRIPT)
    variables = dict(environment())
    endpoint = options["client_kwargs"]["endpoint_url"]
    if way == "environment":
        variables |= {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
    else:
        (tmp_path / "disttrain.toml").write_text(
            f'[storage-options]\nkey = "key"\nsecret = "{SECRET}"\nendpoint_url = "{endpoint}"\n'
            '[storage-options.client_kwargs]\nregion_name = "us-east-1"\n'
        )
    command = [sys.executable, "-m", "disttrain", "launch", "train.py", "--workers", "2", "--run-dir", url]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    files = fsspec.filesystem("s3", **options)
    held = {path: files.cat_file(path) for path in files.find(url.removeprefix("s3://"))}
    assert any("/checkpoints/commits/" in path for path in held) and any(path.endswith("/run.json") for path in held)
    assert [path for path, data in held.items() if SECRET.encode() in data] == []
    assert not (tmp_path / "runs").exists()
