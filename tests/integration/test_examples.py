"""The examples, on real data."""

import re
import subprocess
import sys
from pathlib import Path

from launching import environment

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(tmp_path: Path, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_digits_reach_97_percent_on_pictures_never_seen(tmp_path):
    out = run(tmp_path, "digits_cnn.py", "--save", "digits.keras")
    assert float(re.search(r"accuracy (0\.\d+|1\.0+), loss", out)[1]) >= 0.97
    assert (tmp_path / "digits.keras").exists()


def test_the_lstm_learns_to_guess_characters_better_than_the_commonest_one(tmp_path):
    out = run(tmp_path, "char_lstm.py", "--epochs", "2", "--characters", "60000")
    accuracies = [float(value) for value in re.findall(r"val_accuracy: (0\.\d+)", out)]
    assert accuracies[-1] > 0.3  # a space, the commonest, is one character in five to four
