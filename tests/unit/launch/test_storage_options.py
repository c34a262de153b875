"""Options for the storage of a run: they reach the driver's storage and the workers', and lie in no file of the run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.config import conf
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from disttrain import cli
from disttrain.checkpoint import Store
from disttrain.checkpoint.access import access_of, tell, told
from disttrain.elastic.messages import CallSettings
from disttrain.elastic.shard_writer import ShardWriter
from disttrain.errors import DisttrainError, UsageError
from disttrain.launch import script as script_module
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.script import launch
from disttrain.redaction import forget, hidden
from disttrain.testing.fake_cluster import FakeCluster, Started

SECRET = "hunter2-of-this-storage"
SCRIPT = """
import numpy as np
import disttrain as dt
dt.clear_session()
model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32), batch_size=2, verbose=0)
"""


class Guarded(MemoryFileSystem):
    """Memory that is told a secret first."""

    protocol = "guarded"
    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - fsspec's
    pseudo_dirs = [""]  # noqa: RUF012 - fsspec's

    def __init__(self, secret: str = "", **options: Any) -> None:
        if secret != SECRET:
            raise PermissionError(f"who are you, {secret!r}?")
        super().__init__(**options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("guarded://"))


@pytest.fixture(autouse=True)
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(known_implementations, "guarded", {"class": "of this file"})
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    yield
    Guarded.store.clear()
    conf.pop("guarded", None)
    forget()


def test_the_options_of_a_launch_hold_while_it_runs_and_lie_in_no_file(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))
    url = f"guarded://{uuid.uuid4().hex}"
    with pytest.raises(DisttrainError, match="who are you"):
        launch(RunConfig(run_dir=url), "train.py")
    config = RunConfig(run_dir=url, storage_options={"secret": SECRET})
    launch(config, "train.py")
    assert "guarded" not in conf
    held = {path: file.getvalue() for path, file in Guarded.store.items()}
    assert any("/checkpoints/commits/" in path for path in held) and any(path.endswith("run.json") for path in held)
    assert [path for path, data in held.items() if SECRET.encode() in data] == []
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err + repr(config) and SECRET not in hidden(f"denied for {SECRET}")


def test_a_worker_in_another_process_is_told_what_the_driver_was_told() -> None:
    with told("guarded://run", {"secret": SECRET}):
        settings = CallSettings("guarded://run", 1, 0, None, 1, access=RunConfig(run_dir="guarded://run").saving["access"])
    assert settings.access == {"secret": SECRET} and SECRET not in repr(settings)
    with pytest.raises(DisttrainError, match="who are you"):
        Store("guarded://run")
    ShardWriter("guarded://run", "w0", lambda report: None, access=settings.access)
    Store("guarded://run").put("x", b"reached")


def test_options_go_over_what_fsspec_was_configured_with_and_are_taken_back(monkeypatch: Any) -> None:
    monkeypatch.setitem(conf, "guarded", {"secret": "wrong", "other": 1})
    with told("guarded://run", {"secret": SECRET}):
        assert access_of("guarded://run") == {"secret": SECRET, "other": 1}
    assert access_of("guarded://run") == {"secret": "wrong", "other": 1}
    tell("runs/local", {"secret": SECRET})
    assert access_of("runs/local") == {} and access_of(None) == {}


@pytest.mark.parametrize(
    ("options", "run_dir", "words"),
    [
        ({"key": object()}, "s3://bucket/run", "expected names of options"),
        (["key"], "s3://bucket/run", "expected names of options"),
        ({1: "key"}, "s3://bucket/run", "expected names of options"),
        ({"key": SECRET}, "runs/local", "without a URL"),
        ({"key": SECRET}, None, "without a URL"),
    ],
)
def test_options_that_would_reach_nobody_are_refused_and_not_shown(options: Any, run_dir: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        RunConfig(run_dir=run_dir, storage_options=options)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_the_command_line_takes_them_from(way: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    asked: list[RunConfig] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(script_module, "launch", lambda config, script, arguments, **rest: asked.append(config))
    options = {"secret": SECRET, "client_kwargs": {"region_name": "here"}}
    command = ["launch", "train.py", "--run-dir", "guarded://run"]
    if way == "flag":
        command += ["--storage-options", json.dumps(options)]
    elif way == "environment":
        monkeypatch.setenv("DISTTRAIN_LAUNCH_STORAGE_OPTIONS", json.dumps(options))
    else:
        Path("disttrain.toml").write_text(
            f'[storage-options]\nsecret = "{SECRET}"\n[storage-options.client_kwargs]\nregion_name = "here"\n'
        )
    for more in ([], ["--print-config"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*command, *more])
        assert ended.value.code == 0
    assert [config.storage_options for config in asked] == [options]
    printed = capsys.readouterr().out
    assert "--storage-options" in printed and SECRET not in printed


@pytest.mark.parametrize("text", ["nothing", "[1]", '"x"'])
def test_what_is_no_table_is_refused(text: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["launch", "train.py", "--run-dir", "guarded://run", "--storage-options", text])
    assert ended.value.code == 2 and "expected a JSON object" in capsys.readouterr().err


def test_a_store_that_lets_a_file_be_created_twice_is_said_at_the_start(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))

    def overwrites(self: Any, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        MemoryFileSystem.pipe_file(self, path, value, mode="overwrite", **options)

    monkeypatch.setattr(Guarded, "pipe_file", overwrites)
    launch(RunConfig(run_dir=f"guarded://{uuid.uuid4().hex}", storage_options={"secret": SECRET}), "train.py")
    assert "does not refuse to create a file that exists" in capsys.readouterr().out
    launch(RunConfig(run_dir=str(tmp_path / "run")), "train.py")
    assert "does not refuse" not in capsys.readouterr().out
