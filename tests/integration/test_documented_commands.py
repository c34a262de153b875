"""Every command in the documentation, as it is printed, in order: on the tests' Ray, with a folder in the place of the bucket."""

from __future__ import annotations

import io
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from documented import Block, blocks, name_of, pages
from finished_run import train
from launching import environment

import disttrain as dt
from disttrain.cli.app import app
from disttrain.training.local import runner

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

PAGES = [page for page in pages() if any(block.kind == "bash" for block in blocks(page))]


def run(command: str, folder: Path) -> None:
    """A line of a shell. What starts no Ray runs here, which saves it the time to load torch."""
    words = shlex.split(command, comments=True)
    if words[0] == "disttrain" and (words[1] != "launch" or "--print-config" in words):
        with redirect_stdout(io.StringIO()) as said:
            code = app(words[1:], standalone_mode=False) or 0
        accepted = (0, 2) if words[1] == "doctor" else (0,)  # whether this machine is ready is not the page's matter
        assert code in accepted, f"{command}\n{said.getvalue()}"
        assert said.getvalue().strip(), command
        return
    if words[0] == "python":
        with redirect_stdout(io.StringIO()):
            runpy.run_path(words[1], run_name="__main__")
        dt.clear_session()
        return
    words[:1] = [sys.executable, "-m", "disttrain"]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def here(block: Block, address: str, folder: Path) -> Block:
    """The block with what stands for places of one's own put in."""
    text = block.text.replace("s3://my-bucket", (folder / "bucket").as_uri()).replace("--address auto", f"--address {address}")
    return Block(block.kind, block.title, text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTTRAIN_LAUNCH_ADDRESS", ray_address)
    for name in ("virtual_workers", "threads"):  # which a script of a page sets: put back afterwards
        monkeypatch.setattr(runner._local, name, getattr(runner._local, name))
    if name_of(page) == "keras/saving.md":
        train(str(tmp_path / "runs" / "train"), epochs=251, checkpoint_every="500steps")
    names: dict[str, Any] = {"__name__": "a_page"}
    for block in (here(block, ray_address, tmp_path) for block in blocks(page)):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text)
        elif block.kind == "bash":
            for line in block.text.splitlines():
                run(line, tmp_path)
        elif block.kind == "python":
            exec(compile(block.text, name_of(page), "exec"), {"dt": dt, "model": dt.load_model("runs/train"), **names})
    if name_of(page) == "tutorials/laptop.md":
        with redirect_stdout(io.StringIO()) as digests:
            app(["digest", "laptop.keras"], standalone_mode=False)
            app(["digest", "runs/two"], standalone_mode=False)
        first, second = digests.getvalue().split()
        assert first == second
