"""Every row and every block of the pages for those who come from elsewhere runs as it is written."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import disttrain as dt

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.glob("coming-from-*.md"))
THEIRS_RUNS = ("coming-from-pytorch",)  # pages whose first column is code of torch, which is there
_FENCE = re.compile(r"^```python(?P<mark> setup)?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> tuple[str, list[str]]:
    """(what each piece of code begins after, the blocks)."""
    found = list(_FENCE.finditer(page.read_text()))
    (setup,) = [block["code"] for block in found if block["mark"]]
    return setup, [block["code"] for block in found if not block["mark"]]


def rows(page: Path) -> list[tuple[str, str]]:
    """(what they write, what to write here) of each row of its tables."""
    found = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and cells[0].startswith("`"):
            found.append((cells[0], cells[1]))
    return found


def code_of(cell: str) -> str:
    """The code in a cell of a table."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match is not None, f"no single piece of code: {cell}"
    return match[1]


def pieces() -> Iterator[Any]:
    for page in PAGES:
        setup, whole = blocks(page)
        for number, code in enumerate(whole, 1):
            yield pytest.param(setup, code, id=f"{page.stem}, block {number}")
        for number, (theirs, ours) in enumerate(rows(page), 1):
            if page.stem in THEIRS_RUNS:
                yield pytest.param(setup, code_of(theirs), id=f"{page.stem}, row {number}, theirs")
            yield pytest.param(setup, code_of(ours), id=f"{page.stem}, row {number}")


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each piece writes where nobody looks, and leaves grad mode, seeds and policies as they were."""
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)
    torch.set_grad_enabled(True)
    dt.clear_session()


@pytest.mark.parametrize(("setup", "code"), list(pieces()))
def test_what_the_pages_say_runs(setup: str, code: str):
    names: dict[str, Any] = {"__name__": "a_page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")  # torch's own, of its inside
        exec(compile(f"{setup}\n{code}", "page.py", "exec"), names)


def test_every_page_has_rows_and_blocks():
    assert [page.stem.removeprefix("coming-from-") for page in PAGES] == ["keras", "lightning", "pytorch", "ray-train"]
    for page in PAGES:
        assert len(rows(page)) >= 12
        assert blocks(page)[1]
