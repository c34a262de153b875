"""`disttrain checkpoints`: what runs have saved is listed, shown, checked, compared, thinned out and copied."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import finished_run
import numpy as np
import pytest
from thread_runs import driven

import disttrain as dt
from disttrain import cli
from disttrain.checkpoint import Store
from disttrain.errors import CheckpointIncomplete
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.rundir import checkpoint_copy
from disttrain.rundir.digests import digest_of
from disttrain.rundir.directory import RunDirectory

COMMITS = "checkpoints/commits"


def train(place: str, **options: Any) -> None:
    """In a process of its own, as far as the names of layers go."""
    dt.clear_session()
    finished_run.train(place, **options)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["checkpoints", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command says in JSON, and its exit code."""

    def tell(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run(*arguments, "--json")
        return code, json.loads(capsys.readouterr().out)

    return tell


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/one, of three epochs of two steps, and runs/two, of one."""
    folder = tmp_path_factory.mktemp("made") / "runs"
    train(str(folder / "one"), workers=2, epochs=3)
    train(str(folder / "two"), epochs=1)
    return folder


@pytest.fixture
def one(made: Path, tmp_path: Path) -> Path:
    """A copy of runs/one to do harm to."""
    return Path(shutil.copytree(made / "one", tmp_path / "one"))


def names(run_dir: Path) -> list[str]:
    return sorted((path.stem for path in (run_dir / COMMITS).iterdir()), reverse=True)


def test_checkpoints_are_listed_with_step_epoch_age_size_and_metrics(made, told, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, found = told("ls", str(made / "one"))
    assert code == 0 and [one["step"] for one in found] == [6, 4, 2] and [one["epoch"] for one in found] == [3, 2, 1]
    assert [one["result_of"] for one in found] == [[0], [], []] and all(one["counts"] and one["problem"] is None for one in found)
    assert found[0]["metrics"]["loss"] < found[1]["metrics"]["loss"] < found[2]["metrics"]["loss"]
    assert all(0 <= one["age_s"] < 3600 and one["size_bytes"] > 4096 for one in found)
    assert found[0]["size_bytes"] == sum(path.stat().st_size for path in (made / "one").glob(f"checkpoints/data/{found[0]['name']}*/*"))
    assert run("ls", str(made / "one")) == 0
    assert "result of call 0" in capsys.readouterr().out


def test_those_of_several_runs_are_listed_together_and_a_place_without_is_wrong_use(made, told, tmp_path, capsys):
    assert {Path(one["run"]).name: one["step"] for one in told("ls", str(made))[1][::-1]} == {"one": 6, "two": 2}
    assert run("ls", str(tmp_path)) == 2 and "holds no run" in capsys.readouterr().err


def test_bytes_that_the_checkpoint_before_had_too_are_counted(tmp_path, told):
    dt.clear_session()
    with driven(1, url=str(tmp_path / "run"), every="epoch"):
        frozen = dt.layers.Dense(64, name="frozen")
        model = dt.Sequential([dt.Input((64,)), frozen, dt.layers.Dense(1)])
        frozen.trainable = False
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 64), "float32"), np.ones((8, 1), "float32"), batch_size=8, epochs=2, verbose=0)
    newest, oldest = told("ls", str(tmp_path / "run"))[1]
    assert oldest["unchanged_bytes"] == 0 and 64 * 65 * 4 <= newest["unchanged_bytes"] < newest["size_bytes"]


def test_one_is_shown_with_its_place_in_the_training_and_its_tensors(made, told, capsys):
    code, found = told("show", str(made / "one"), "--step", "4")
    assert code == 0 and (found["step"], found["epoch"], found["call"], found["virtual_workers"]) == (4, 2, 0, 2)
    kernel = next(tensor for tensor in found["tensors"] if tensor["name"].endswith("kernel"))
    assert (kernel["dtype"], kernel["shape"], kernel["bytes"]) == ("F32", [2, 1], 8) and "History" in found["callbacks"]
    assert told("show", f"{made / 'one'}/{names(made / 'one')[0]}")[1]["step"] == 6
    assert run("show", str(made / "one")) == 0 and "[2, 1]" in capsys.readouterr().out
    assert run("show", str(made / "one"), "--step", "5") == 2 and "expected  one of 6, 4, 2" in capsys.readouterr().err


def test_a_flipped_byte_is_found_and_named(one, told, capsys):
    assert told("verify", str(one))[0] == 0
    (damaged,) = one.glob(f"checkpoints/data/{names(one)[1]}*/w00-of-03.safetensors")
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    code, found = told("verify", str(one))
    assert code == 1 and [checked["problem"] is None for checked in found] == [True, False, True]
    assert damaged.name in found[1]["problem"]
    assert run("verify", str(one), "--step", "6") == 0
    assert run("verify", f"{one}/{names(one)[1]}") == 1 and "damaged" in capsys.readouterr().out
    assert run("show", f"{one}/{names(one)[1]}") == 0, "its manifest is whole"


def test_two_are_compared_tensor_by_tensor(made, told, capsys):
    newest, _, oldest = (f"{made / 'one'}/{name}" for name in names(made / "one"))
    code, found = told("diff", oldest, newest)
    assert code == 1 and found["first"] == oldest and found["second"] == newest
    kernel = next(changed for changed in found["changed"] if changed["name"].endswith("kernel"))
    assert kernel["elements"] == 2 and 0 < kernel["largest"] < 1
    before, after = found["metrics"]["loss"]
    assert after < before
    assert told("diff", newest, str(made / "one"))[0] == 0
    assert run("diff", newest, f"{made / 'two'}") == 1 and "elements that differ" in capsys.readouterr().out


def test_tensors_that_one_alone_has_and_other_shapes_are_named(made, told, tmp_path):
    dt.clear_session()
    with driven(1, url=str(tmp_path / "run")):
        model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(3), dt.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 2), "float32"), np.ones((8, 1), "float32"), batch_size=8, verbose=0)
    found = told("diff", str(made / "one"), str(tmp_path / "run"))[1]
    assert len(found["only_second"]) == 2 and not found["only_first"]
    changed = {one["name"].rpartition(".")[2]: one for one in found["changed"]}
    assert (changed["kernel"]["first"], changed["kernel"]["second"], changed["kernel"]["elements"]) == ("F32 [2, 1]", "F32 [2, 3]", None)


def test_old_ones_are_deleted_but_for_the_newest_and_for_results(one, told):
    before = names(one)
    code, found = told("prune", str(one), "--keep", "1", "--dry-run")
    assert code == 0 and found["deleted"] == before[:0:-1] and found["bytes"] > 4096 and names(one) == before
    assert told("prune", str(one), "--keep", "2")[1]["deleted"] == [before[2]]
    assert names(one) == before[:2] and len(list(one.glob("checkpoints/data/*"))) == 2
    (damaged,) = one.glob(f"checkpoints/data/{before[0]}*/w00-of-03.safetensors")
    damaged.unlink()
    assert told("prune", str(one), "--keep", "1")[1]["deleted"] == [], "the newest that is whole stays"
    assert run("prune", str(one), "--keep", "0") == 2


def test_nothing_is_deleted_where_a_driver_is_at_work(one, capsys):
    directory = RunDirectory(str(one))
    directory.begin(fresh=False)
    assert run("prune", str(one), "--keep", "1") == 3
    assert "is in use by the driver" in capsys.readouterr().err and len(names(one)) == 3


def test_a_copy_is_a_run_to_go_on_with_and_ends_in_the_same_bits(made, told, tmp_path):
    target = f"memory://{tmp_path.name}/copied"
    code, found = told("copy", str(made / "one"), target, "--step", "4")
    assert code == 0 and found["checkpoints"] == [names(made / "one")[1]]
    assert RunDirectory(target).status()["state"] == "copied"
    assert told("copy", str(made / "one"), target, "--step", "4")[0] == 0, "the same again is no error"
    train(target, workers=1, epochs=3)
    assert digest_of(target) == digest_of(str(made / "one"))


def test_a_finished_run_stays_finished_and_all_of_it_may_be_copied(made, told, tmp_path):
    found = told("copy", str(made / "one"), str(tmp_path / "all"), "--all")[1]
    assert found["checkpoints"] == names(made / "one") == names(tmp_path / "all")
    assert RunDirectory(str(tmp_path / "all")).status()["state"] == "finished"
    assert told("ls", str(tmp_path / "all"))[1][0]["result_of"] == [0]


def test_half_a_copy_is_refused_by_a_launch_until_it_is_made_to_its_end(made, told, tmp_path, monkeypatch):
    target, create = tmp_path / "half", checkpoint_copy._create
    calls: list[str] = []

    def cut_short(into: Store, path: str, *rest: Any) -> None:
        if path == "attempts/00000001.json":
            raise KeyboardInterrupt
        calls.append(path)
        create(into, path, *rest)

    monkeypatch.setattr(checkpoint_copy, "_create", cut_short)
    with pytest.raises(KeyboardInterrupt):
        checkpoint_copy.copy(str(made / "one"), str(target))
    with pytest.raises(CheckpointIncomplete, match="attempts is empty"):
        enter(RunConfig(run_dir=str(target)), script="", arguments=(), script_sha256="")
    monkeypatch.undo()
    assert calls and told("copy", str(made / "one"), str(target))[0] == 0
    assert digest_of(str(target)) == digest_of(str(made / "one"))


def test_another_run_is_not_copied_over(made, tmp_path, capsys):
    shutil.copytree(made / "two", tmp_path / "two")
    assert run("copy", str(made / "one"), str(tmp_path / "two")) == 2
    assert "holds another run already" in capsys.readouterr().err
    assert run("copy", str(made / "one"), str(made / "one") + "/") == 2
