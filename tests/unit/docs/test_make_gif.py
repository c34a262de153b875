"""What makes README's moving picture: which states of the terminal become pictures, and how long each stands."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest
from documented import DOCS
from PIL import Image


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_gif", DOCS / "make_gif.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks for its module
    spec.loader.exec_module(module)
    return module


def test_a_wait_is_cut_a_flicker_is_left_out_and_the_end_stands(maker: ModuleType):
    film = maker.Film(
        [(0.0, ["$ go"]), (9.0, ["$ go", "1/3"]), (9.01, ["$ go", "2/3"]), (9.3, ["$ go", "3/3"]), (9.31, ["$ go", "3/3", "done"])]
    )
    shown = list(maker.frames(film))
    assert [lines[-1] for lines, _ in shown] == ["$ go", "1/3", "3/3", "done"]
    assert [round(seconds, 2) for _, seconds in shown] == [0.5, 0.3, 0.1, 6.0]


def test_of_a_wait_the_first_and_the_last_moment_are_kept(maker: ModuleType):
    waits = [(float(second), ["$ go", f"{'|/-'[second % 3]} starting Ray  {second} s"]) for second in range(1, 9)]
    shown = [lines[-1] for lines, _ in maker.frames(maker.Film([(0.0, ["$ go"]), *waits, (9.0, ["$ go", "done"])]))]
    assert shown == ["$ go", "/ starting Ray  1 s", "- starting Ray  8 s", "done"]


def test_the_script_that_is_filmed_is_that_of_readme_with_more_epochs(maker: ModuleType):
    code = maker.script_of_readme()
    compile(code, "train.py", "exec")
    assert f"epochs={maker.EPOCHS}" in code and "callbacks" not in code


def test_the_committed_picture_is_small_and_moves():
    (name,) = re.findall(r"\]\((docs/images/[\w.-]+\.gif)\)", (DOCS.parent / "README.md").read_text(encoding="utf-8"))
    path = DOCS.parent / name
    assert path.stat().st_size < 500_000
    with Image.open(path) as picture:
        assert picture.n_frames > 20
