"""On a person's terminal: narrow, wide and resized, with and without colours, with Ctrl-C once, twice and during the start."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from launching import environment
from terminal import Terminal

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

SCRIPT = """
import os, time
import numpy as np
import disttrain as dt
from disttrain import layers

class Slowly(dt.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", epoch, "begins")
    def on_train_batch_end(self, batch, logs=None):
        time.sleep({pause})

x, y = np.ones((80, 4), "float32"), np.zeros(80, "int64")
model = dt.Sequential([dt.Input((4,)), layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=4, epochs={epochs}, callbacks=[Slowly()])
"""

COLOUR = re.compile(r"\[(?:\d+;)*(?:3|4|9|10)[0-8](?:;\d+)*m$")


def on_terminal(
    folder: Path, *words: str, epochs: int = 2, pause: float = 0.06, columns: int = 100, without: str = "", **variables: str
) -> Terminal:
    (folder / "train.py").write_text(SCRIPT.format(epochs=epochs, pause=pause))
    known = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES", without)}
    return Terminal([sys.executable, *words], folder, {**known, **variables}, columns=columns)


def moves(terminal: Terminal) -> bool:
    """Has a bar been seen in three states?"""
    return len({state for state in terminal.states if "/20 " in state}) >= 3


def test_a_bar_moves_within_the_width_of_the_terminal_and_follows_a_resize(tmp_path: Path):
    with on_terminal(tmp_path, "train.py", columns=200) as terminal:
        terminal.until(moves)
        assert not any("…" in state for state in terminal.states)
        terminal.resize(40)
        terminal.until(lambda seen: len([state for state in seen.states if "/20 " in state and "…" in state and len(state) < 40]) >= 3)
        terminal.glass.columns = 40
        assert terminal.wait() == 0
    lines = terminal.glass.lines
    assert lines.index("Epoch 1/2") < lines.index("epoch 0 begins") < lines.index("Epoch 2/2") < lines.index("epoch 1 begins")
    on_the_way = re.compile(r" *(?!20/)\d+/20 ")
    assert not any(on_the_way.match(line) for line in terminal.glass.wrapped)  # the last line of an epoch is whole, nothing else wraps
    assert not any(on_the_way.match(line) for line in lines)  # and none of those on the way was left standing


def test_with_no_color_there_is_none_and_on_a_dumb_terminal_nothing_but_text(tmp_path: Path):
    help_of_launch = ("-m", "disttrain", "launch", "--help")
    with on_terminal(tmp_path, *help_of_launch, columns=60) as terminal:  # NO_COLOR=1 is in the environment of tests
        assert terminal.wait() == 0
    assert "--workers" in terminal.text and not [code for code in terminal.glass.codes if COLOUR.match(code)]  # bold is no colour
    with on_terminal(tmp_path, *help_of_launch, TERM="dumb") as terminal:
        assert terminal.wait() == 0
    assert "--workers" in terminal.text and not terminal.glass.codes


def test_ctrl_c_once_keeps_the_step_and_says_how_to_go_on_also_on_a_narrow_terminal(tmp_path: Path, ray_address: str):
    words = ("-m", "disttrain", "launch", "train.py", "--workers", "1", "--address", ray_address)
    with on_terminal(tmp_path, *words, epochs=1000, columns=50) as terminal:
        terminal.until(moves)
        terminal.type("\x03")
        assert terminal.wait() == 130
        told = terminal.text.replace("\n", "")
        assert "stopping after this step" in told and "interrupted. Go on with:" in told and "Traceback" not in told
    assert any("waiting for workers" in state or "loading" in state for state in terminal.states)  # the line that changes in place


def test_ctrl_c_twice_ends_at_once_though_a_step_takes_long(tmp_path: Path, ray_address: str):
    words = ("-m", "disttrain", "launch", "train.py", "--workers", "1", "--address", ray_address)
    with on_terminal(tmp_path, *words, epochs=1000, pause=0.3) as terminal:
        terminal.until(lambda seen: any("/20 " in state for state in seen.states))
        terminal.type("\x03")
        terminal.until(lambda seen: "stopping after this step" in seen.text)
        terminal.type("\x03")
        assert terminal.wait() == 130 and "Traceback" not in terminal.text


def test_ctrl_c_while_ray_is_being_started_leaves_a_clean_line_and_nothing_else(tmp_path: Path):
    with on_terminal(tmp_path, "-m", "disttrain", "launch", "train.py", "--workers", "1") as terminal:
        terminal.until(lambda seen: "starting Ray" in seen.text)
        terminal.type("\x03")
        assert terminal.wait() == 130 and "Traceback" not in terminal.text
        assert "interrupted. Go on with:" in terminal.text
