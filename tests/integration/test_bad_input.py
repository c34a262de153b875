"""What a person gets wrong is told in a few words, with exit code 2: at the door before anything starts, or at the step it spoils."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment, launch

TRAP = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
raise ImportError("nobody should import this here")
"""

SCRIPT = """
import numpy as np

import disttrain as dt
from disttrain import layers

x, y, batch_size = np.zeros((12, 2), np.float32), np.zeros(12, np.int64), 4
{change}
model = dt.Sequential([dt.Input((2,)), layers.Dense(2, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, shuffle=False)
"""


@pytest.fixture
def refused(tmp_path):
    """Run `disttrain launch` with arguments that are to be refused at the door; what it told. Neither Ray nor torch is loaded."""
    traps = [tmp_path / "traps" / name for name in ("ray", "torch")]
    for trap in traps:
        trap.mkdir(parents=True)
        (trap / "__init__.py").write_text(TRAP)
    (tmp_path / "train.py").write_text(SCRIPT.format(change=""))

    def run(*arguments: str) -> str:
        path = os.pathsep.join([str(tmp_path / "traps"), str(Path(__file__).parents[2])])
        done = subprocess.run(
            [sys.executable, "-m", "disttrain", "launch", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment(), "PYTHONPATH": path},
            check=False,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not [trap for trap in traps if (trap / "imported").exists()]
        return done.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train.py", "--workers", "2", "--min-workers", "3"), "--min-workers 3 is more than --workers 2"),
        (("train.py", "--min-workers", "2", "--max-workers", "1"), "--min-workers 2 is more than --max-workers 1"),
        (("train.py", "--workers", "4", "--virtual-workers", "2"), "2 virtual workers for 4 workers"),
        (("missing.py",), "there is no script 'missing.py'"),
        (("missing.py",), "such as train.py"),
        (("train.py", "--wokers", "2"), "--wokers"),
        (("train.py", "--checkpoint-every", "5parsecs"), "--checkpoint-every '5parsecs'"),
        (("train.py", "--run-dir", "s4://bucket"), "near it are"),
        (("train.py", "--run-dir", "train.py/run"), "train.py/run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_door_can_see_is_refused_before_anything_starts(arguments, words, refused):
    assert words in refused(*arguments)


def test_a_run_directory_of_another_script_or_other_slices_is_refused_by_name(refused, tmp_path):
    from disttrain.rundir.directory import RunDirectory
    from disttrain.rundir.identity import RunDescription

    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    directory.resume_point()
    directory.describe(RunDescription("train.py", (), virtual_workers=4, seed=0, threads=1, root=1))
    directory.end("failed")
    (tmp_path / "other.py").write_text("")
    here = ("--run-dir", "run")
    assert "run holds a run of train.py, not of other.py" in refused("other.py", *here)
    assert "4 virtual workers, --virtual-workers 8 was given" in refused("train.py", "--virtual-workers", "8", *here)
    assert "5 workers are too many" in refused("train.py", "--workers", "5", *here)
    assert "with seed 0, --seed 1 was given" in refused("train.py", "--seed", "1", *here)


@pytest.mark.ray
@pytest.mark.leaves_behind("processes")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch_size = 3", "DataError: batch_size=3 cannot be cut into 4 slices"),
        ("y[7] = 2", "DataError: "),
        ("y = y[:-1]", "DataError: arrays of unequal length: x 12, y 11"),
        ("x[5] = np.nan", "NonFiniteLoss: the loss became nan at step 2 (epoch 1, batch 2)"),
    ],
    ids=["a batch smaller than the slices", "labels outside the classes", "unequal arrays", "a loss that is not finite"],
)
def test_data_that_do_not_fit_are_refused_by_name(change, words, tmp_path, ray_address):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(change=change))
    done = launch(tmp_path, "--workers", "1", "--virtual-workers", "4", script=script, address=ray_address).wait()
    assert done.code == 2, done.out
    assert words in done.out and "Traceback" not in done.out
