"""What a launch refuses at the door, and how it reads what it is given."""

from pathlib import Path

import pytest

from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.errors import UsageError
from disttrain.launch.config import RunConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100steps", CheckpointInterval(steps=100)),
        ("1 step", CheckpointInterval(steps=1)),
        ("30s", CheckpointInterval(seconds=30.0)),
        ("5min", CheckpointInterval(seconds=300.0)),
        ("2h", CheckpointInterval(seconds=7200.0)),
        ("epoch", CheckpointInterval(epoch=True)),
    ],
)
def test_when_to_save_is_steps_a_time_or_the_epoch(text, expected):
    assert CheckpointInterval.parse(text) == expected


@pytest.mark.parametrize("text", ["", "100", "0steps", "1.5steps", "-3s", "often"])
def test_any_other_time_to_save_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="such as 100steps, 30s"):
        CheckpointInterval.parse(text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "--workers 0: expected an integer of 1 or more"),
        ({"workers": 2, "min_workers": 3, "max_workers": 2}, "--min-workers 3 is more than --max-workers 2"),
        ({"workers": 2, "min_workers": 3}, "--min-workers 3 is more than --workers 2"),
        ({"workers": 4, "max_workers": 2}, "--max-workers 2 is less than --workers 4"),
        ({"workers": 4, "virtual_workers": 2}, "2 virtual workers for 4 workers"),
        ({"seed": -1}, "--seed -1"),
        ({"keep": 0}, "--keep 0"),
        ({"checkpoint_every": "sometimes"}, "--checkpoint-every 'sometimes'"),
        ({"run_dir": "s4://bucket/run"}, "unknown kind of storage 's4'; near it are"),
        ({"run_dir": 3}, "--run-dir 3: expected text such as 'runs/a'"),
        ({"restart": "no"}, "--restart 'no': expected True or False"),
        ({"spares": "1"}, "--spares '1': expected an integer"),
        ({"spares": None}, "--spares None: expected an integer"),
        ({"keep": None}, "--keep None: expected an integer"),
        ({"seed": "a"}, "--seed 'a': expected an integer"),
        ({"hang_timeout_s": "3"}, "--hang-timeout '3': expected a number"),
        ({"checkpoint_every": 100}, "--checkpoint-every 100: expected text such as '100steps'"),
        ({"audit": 0.01}, "--audit 0.01: expected text such as '1%'"),
        ({"address": 6379}, "--address 6379: expected text"),
        ({"run_dir": ""}, "--run-dir '': expected a folder or a URL"),
        ({"address": ""}, "--address '': expected auto, or HOST:PORT"),
        ({"address": "localhost"}, "--address 'localhost': expected auto, or HOST:PORT"),
        ({"address": "ray://head:10001"}, "ray:// is for Ray's clients"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        RunConfig(**options)


def test_fewer_virtual_workers_than_workers_says_what_to_change():
    with pytest.raises(UsageError, match=r"try       --virtual-workers 4, or --workers 2"):
        RunConfig(workers=4, virtual_workers=2)


@pytest.mark.parametrize("address", ["auto", "localhost:6379", "10.0.0.1:6379", "[::1]:6379", "ray-head.my-space.svc:6379"])
def test_a_cluster_is_named_by_auto_or_by_host_and_port(address):
    assert RunConfig(address=address).address == address


def test_a_path_of_pathlib_is_a_run_directory_too():
    assert RunConfig(run_dir=Path("runs") / "a").run_dir == "runs/a"
