"""The first hour, as README has it: the wheel in an empty environment, then its blocks and commands from top to bottom."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import environment

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURES = "import numpy as np, os; os.mkdir('pictures'); np.save('pictures/one.npy', np.zeros((28, 28, 1), 'float32'))"


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("newcomer")
    yield Newcomer(folder)


class Newcomer:
    """An environment that has the wheel, what it depends on, and nothing else of this repository; and a folder to begin in."""

    def __init__(self, folder: Path) -> None:
        source = folder / "source"
        source.mkdir()
        shutil.copytree(ROOT / "disttrain", source / "disttrain", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "wheel", str(source), "--no-deps", "--wheel-dir", str(folder)], check=True)
        (self.wheel,) = folder.glob("disttrain-*.whl")
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([*pip, "--python", str(self.python), "install", "--no-deps", str(self.wheel)], check=True)
        # What it depends on comes from the environment of the tests, whose own disttrain is editable: a path alone does not bring that.
        (own,) = (folder / "venv").glob("lib/python*/site-packages")
        (own / "dependencies.pth").write_text("\n".join(place for place in sys.path if place.endswith("-packages")))
        self.folder = folder / "work"
        self.folder.mkdir()
        self.variables = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.variables["PATH"] = f"{self.python.parent}:{os.environ['PATH']}"

    def run(self, command: str) -> str:
        """A line of the shell; what it said."""
        done = subprocess.run(command, shell=True, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def serve(self, command: str) -> str:
        """A command that serves a page until Ctrl-C; the page."""
        server = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"], cwd=self.folder, env={**self.variables, "PYTHONUNBUFFERED": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = ""
        limit = threading.Timer(600.0, server.kill)  # one that says nothing would be waited for for ever
        limit.start()
        try:
            assert server.stdout is not None
            for line in server.stdout:
                said += line
                if (found := re.search(r"http://[\w.:]+", line)) is not None:
                    return page_at(found[0])
            raise AssertionError(f"{command} named no address:\n{said}")
        finally:
            limit.cancel()
            limit.join()
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=600)


def page_at(url: str, limit_s: float = 300.0) -> str:
    end = time.monotonic() + limit_s
    while True:
        try:
            return str(urllib.request.urlopen(url, timeout=300).read().decode())
        except OSError:
            assert time.monotonic() < end, url
            time.sleep(0.1)


def test_readme_from_top_to_bottom(newcomer: Newcomer):
    (code,) = re.findall(r"^```python\n(# train\.py\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    (newcomer.folder / "train.py").write_text(code)

    def as_printed(command: str) -> str:
        assert re.search(rf"^{re.escape(command)}(?:  |$)", README, re.MULTILINE), command
        return newcomer.run(command)

    assert str(newcomer.python.parents[1]) in newcomer.run("python -c 'import disttrain; print(disttrain.__file__)'")
    assert "torch" in newcomer.run("disttrain doctor; true")

    assert "Epoch 3/3" in as_printed("python train.py")
    said = as_printed("disttrain launch train.py --workers 4")
    assert all(words in said for words in ("[disttrain] run ", "[disttrain] workers  4", "Epoch 3/3", "[disttrain] done ")), said
    said = as_printed("disttrain launch train.py --workers 4")
    assert "this run is finished" in said

    assert "finished" in newcomer.run("disttrain status runs/train") and "train" in newcomer.run("disttrain runs")
    assert "epoch" in newcomer.run("disttrain status runs/train --json").lower()
    newcomer.run("disttrain logs runs/train")
    as_printed("disttrain launch train.py --workers 1 --virtual-workers 4 --run-dir runs/one")
    assert as_printed("disttrain digest runs/one") == newcomer.run("disttrain digest runs/train")
    assert len(newcomer.run("disttrain digest runs/train").strip()) == 64
    newcomer.run("disttrain export runs/train --format keras -o model.keras")
    newcomer.run(f'python -c "{PICTURES}"')
    for command in re.findall(r"^disttrain (?:view|tensorboard) .*?(?=  |$)", README, re.MULTILINE):
        assert "<html" in newcomer.serve(f"{command} --port 0").lower(), command

    (after,) = re.findall(r"^```python\n(model\.save.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = after.replace("s3://bucket/run", "runs/train")
    (newcomer.folder / "after.py").write_text('import disttrain as dt\n\nmodel = dt.load_model("model.keras")\n' + lines)
    newcomer.run("python after.py")
    assert (newcomer.folder / "m.keras").is_file() and (newcomer.folder / "m.onnx").is_file()
