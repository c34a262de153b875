"""A dry run computes one batch of a script's first call in this process, says what a launch would start, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from disttrain import cli

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
import numpy as np
import disttrain as dt
from disttrain import layers
model = dt.Sequential([dt.Input((2,)), layers.Dense(3), layers.Dense(1)])
model.compile("sgd", "mse")
try:
    model.fit(np.ones((80, 2), "float32"), np.ones((80, 1), "float32"), batch_size=8, epochs=1000, verbose=0)
except Exception:
    print("caught")
print("never reached")
"""


def test_one_batch_is_computed_and_nothing_is_left(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "disttrain", "launch", "train.py", "--workers", "4", "--spares", "1", "--dry-run"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    for words in (
        "run      runs/train\n", "80 samples, 10 steps of 8 an epoch, 1000 epochs", "model    13 numbers", "in all its 4 slices",
        "memory   this process took", "a launch would start a Ray on this machine: 4 workers and 1 spare",
    ):  # fmt: skip
        assert words in done.stdout
    assert "never reached" not in done.stdout and "caught" not in done.stdout and os.listdir(tmp_path) == ["train.py"]


@pytest.mark.parametrize(("text", "words"), [("", "ended without a call of fit"), (None, "there is no script")])
def test_a_script_that_makes_no_call_is_wrong_use(text, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "train.py").write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli.main(["launch", "train.py", "--dry-run"])
    assert ended.value.code == 2 and words in capsys.readouterr().err
