"""The examples, on real data."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
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


def test_one_encoder_called_on_two_inputs_learns_which_digits_are_the_same(tmp_path):
    out = run(tmp_path, "two_inputs.py", "--epochs", "4", "--pairs", "4000")
    assert float(re.search(r"unseen digits: accuracy (0\.\d+)", out)[1]) > 0.85  # half of the pairs are of one number


def test_the_transformer_learns_to_guess_characters_better_than_the_commonest_one(tmp_path):
    out = run(tmp_path, "transformer.py", "--epochs", "3", "--characters", "30000", "--blocks", "1")
    accuracies = [float(value) for value in re.findall(r"val_accuracy: (0\.\d+)", out)]
    assert accuracies[-1] > 0.3


def test_pictures_in_tar_shards_are_learnt_by_one_process_and_others_that_decode(tmp_path):
    out = run(tmp_path, "tar_pictures.py", "--epochs", "4", "--loaders", "1")
    assert float(re.search(r"448 digits held out: accuracy (0\.\d+|1\.0+)", out)[1]) > 0.9
    assert len(list((tmp_path / "digit-shards").glob("*.tar"))) == 8


def test_a_table_in_parquet_is_learnt_a_row_group_at_a_time(tmp_path):
    pytest.importorskip("pyarrow")
    out = run(tmp_path, "parquet_table.py", "--epochs", "8")
    assert float(re.search(r"113 tumours held out: accuracy (0\.\d+|1\.0+)", out)[1]) > 0.9


def test_a_torch_module_is_fine_tuned_on_100_digits_of_other_numbers(tmp_path):
    out = run(tmp_path, "fine_tune.py", "--epochs", "8")
    assert float(re.search(r"from 100 examples: accuracy (0\.\d+)", out)[1]) > 0.9


def test_a_training_step_of_the_scripts_own_teaches_a_small_network_what_a_large_one_knows(tmp_path):
    out = run(tmp_path, "custom_step.py", "--epochs", "10")
    assert float(re.search(r"the student's accuracy (0\.\d+)", out)[1]) > 0.85


def test_the_digits_network_is_shown_by_the_viewer_which_answers_for_a_layer(tmp_path):
    out = run(tmp_path, "05_see_activations.py", "--epochs", "3", "--check")
    assert float(re.search(r"accuracy (0\.\d+|1\.0+), loss", out)[1]) > 0.9
    bytes_count = int(re.search(r"answered with (\d+) bytes of layer 'both' for \d-\d\d\.png", out)[1])
    assert bytes_count > 48 * 8 * 8  # a byte for each value of its 48 maps, and a header
    assert list(tmp_path.iterdir()) == []
