"""Every block of Python in the documentation runs as it is printed; no page escapes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from documented import DOCS, blocks, name_of, pages

import disttrain as dt

# Pages whose blocks are run elsewhere, and where.
ELSEWHERE = {
    "coming-from-keras.md": "unit/test_coming_from.py",
    "coming-from-lightning.md": "unit/test_coming_from.py",
    "coming-from-pytorch.md": "unit/test_coming_from.py",
    "coming-from-ray-train.md": "unit/test_coming_from.py",
    "keras/callbacks.md": "unit/callbacks/test_documented_callbacks.py",
    "keras/saving.md": "integration/test_documented_commands.py",
    "tutorials/notebook.md": "integration/test_notebooks.py",
    "tutorials/trackers.md": "unit/docs/test_trackers.py",
}
HERE = [page for page in pages() if name_of(page) not in ELSEWHERE and any(b.kind == "python" and b.title is None for b in blocks(page))]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)
    dt.set_determinism(True)
    dt.clear_session()


@pytest.mark.parametrize("page", HERE, ids=name_of)
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "a_page"}
    for number, block in enumerate(block for block in blocks(page) if block.kind == "python" and block.title is None):
        with redirect_stdout(io.StringIO()):
            exec(compile(block.text, f"{name_of(page)}, block {number + 1}", "exec"), names)


def test_each_page_that_has_blocks_is_run_somewhere():
    tests = DOCS.parent / "tests"
    for page, where in ELSEWHERE.items():
        assert (DOCS / page).is_file() and (tests / where).is_file()
    assert {block.kind for page in pages() for block in blocks(page)} <= {"python", "bash", "toml", "text", "mermaid"}
