"""What only people read of a run directory, damaged in any way: it is told in words, and never an error of Python."""

from __future__ import annotations

import copy
import json
import random

import pytest

from disttrain.cli import main
from disttrain.cli.tables import print_status
from disttrain.rundir.directory import RunDirectory

STATUS = {
    "attempt": 1, "virtual_workers": 2, "state": "running", "phase": "running", "call": 0, "kind": "fit", "epoch": 1, "epochs": 2,
    "step": 3, "step_in_epoch": 3, "steps_per_epoch": None, "generation": 1, "logs": {"loss": 0.5}, "beat": 7,
    "workers": [{"worker": "w0", "rank": 0, "virtual_ranks": [0, 1], "pid": 1, "host": "h", "doing": None}],
}  # fmt: skip
WRONG = [None, True, -1, 1.5, "[/bold]\x1b[31m", [], [1], {}, {"a": {}}, [[[]]], [{"worker": "w0"}], "\ud800"]


@pytest.fixture
def directory(tmp_path):
    made = RunDirectory(str(tmp_path / "run"))
    made.begin(fresh=True)
    return made


def shown(directory, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["status", directory.run_dir])
    assert not ended.value.code
    with pytest.raises(SystemExit) as ended:
        main(["status", "--json", directory.run_dir])
    assert not ended.value.code
    return capsys.readouterr().out


def test_a_sound_status_has_no_problem(directory, capsys):
    directory.write_status(STATUS)
    assert directory.status()["epoch"] == 1 and "problem" not in directory.status()
    assert "epoch 1/2" in shown(directory, capsys)


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"workers":' + b"[" * 200_000, b"\xff", b'{"a', b"null", b"[]"], ids=range(6))
def test_a_status_that_is_no_json_object_is_told_in_a_line(data, directory, capsys):
    directory.store.put("status.json", data)
    assert "status.json is damaged" in directory.status()["problem"]
    assert "is damaged" in shown(directory, capsys)


@pytest.mark.parametrize("field", STATUS)
def test_a_field_that_is_of_another_kind_is_told_or_printed_as_text(field, directory, capsys):
    for wrong in WRONG:
        directory.store.put("status.json", json.dumps({**STATUS, field: wrong}).encode())
        print_status(directory.run_dir, directory.status())
        assert "\x1b[31m" not in capsys.readouterr().out


def test_two_hundred_random_damages_to_a_status_are_shown(directory):
    dice = random.Random(0)
    for _ in range(200):
        status = copy.deepcopy(STATUS)
        for _ in range(dice.randint(1, 4)):
            workers = status.get("workers")
            place = dice.choice([status, status.get("logs"), *(workers if isinstance(workers, list) else [])])
            if isinstance(place, dict) and place:
                name = dice.choice(list(place))
                if dice.random() < 0.3:
                    del place[name]
                else:
                    place[name] = dice.choice(WRONG)
        directory.store.put("status.json", json.dumps(status).encode())
        print_status(directory.run_dir, directory.status())


def test_a_line_of_the_timeline_that_is_damaged_is_left_out(directory):
    directory.add_events(['{"event": "a"}', "[" * 200_000, "3", "null", '{"event": "b"', '{"event": "c"}'])
    assert [event["event"] for event in directory.events()] == ["a", "c"]
