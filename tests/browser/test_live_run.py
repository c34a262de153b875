"""The viewer on a run that trains: it follows the newest checkpoint, shows a layer as it learned, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launching import SCRIPTS, Launch, launch, python

import disttrain as dt
from disttrain.viewers import server

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.leaves_behind("processes", "threads")]

SCRIPT = SCRIPTS / "watched.py"
SHOWN = """name => window.__viewer.state.checkpoint === name && window.__viewer.shown.packs[0]?.header.checkpoint === name"""
PACK = """() => { const {header, data} = window.__viewer.shown.packs[0]; return {...header, data: Array.from(data)}; }"""


def checkpoints(page: Any) -> list[dict[str, Any]]:
    """What the page can choose from."""
    return list(page.evaluate("async () => (await (await fetch('/api/checkpoints')).json()).checkpoints"))


def maps_by_hand(run: Path, name: str, row: int) -> np.ndarray:
    """The feature maps of `conv` for a sample of the run, (channels, height, width), from a forward pass with a checkpoint's weights."""
    from safetensors.numpy import load_file

    model = dt.load_model(f"{run}/{name}")
    x = load_file(run / "model" / "000000.safetensors")["x"]
    return np.moveaxis(dt.Model(model.inputs, model.get_layer("conv").output).predict(x[row : row + 1], verbose=0)[0], -1, 0)


def shown_values(page: Any) -> np.ndarray:
    """The maps that the page has, as numbers."""
    pack = page.evaluate(PACK)
    data = np.array(pack["data"], float).reshape(pack["count"], pack["height"], pack["width"])
    low, high = (np.array(pack[side])[:, None, None] for side in ("minimum", "maximum"))
    return low + data / 255 * (high - low)


@contextmanager
def under_way(run: Launch) -> Iterator[Launch]:
    """The run is killed where the block fails."""
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.kill()


def test_the_slider_moves_over_checkpoints_while_a_run_trains(tmp_path, watched, ray_address, monkeypatch):
    marks = tmp_path / "marks"
    marks.mkdir()
    undisturbed = python(tmp_path / "alone", "--virtual-workers", "2", script=SCRIPT)
    folder = tmp_path / "empty"
    folder.mkdir()
    options = ("--workers", "2", "--virtual-workers", "2", "--checkpoint-every", "epoch", "--keep", "10")
    run = launch(tmp_path / "run", *options, script=SCRIPT, arguments=("--marks", str(marks)), address=ray_address)
    page = watched.page

    def until(count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 300.0
        while len(known := checkpoints(page)) < count:
            assert time.monotonic() < end, f"only {known} came"
            page.wait_for_timeout(100)
        return known

    run.wait_for(lambda status: status["phase"] == "running")
    (marks / "epoch-0").touch()
    run.wait_for(lambda status: status["epoch"] == 2)
    monkeypatch.chdir(run.run_dir.parent)  # the page says where the run is as it was told
    with under_way(run), server.launch("run", input_folder=folder, port=0, block=False) as viewer:
        page.goto(viewer.url)
        first = until(1)
        assert [entry["epoch"] for entry in first] == [1]
        page.click('[data-layer="conv"]')
        page.wait_for_function(SHOWN, arg=first[0]["name"])
        assert page.text_content("#run-state") == "running" and page.is_checked("#follow")
        watched.screenshot("viewer-live-first-checkpoint")

        for epoch in (1, 2):  # followed as they are committed, without a hand
            (marks / f"epoch-{epoch}").touch()
            page.wait_for_function(SHOWN, arg=until(epoch + 1)[-1]["name"])
        known = checkpoints(page)
        assert [entry["epoch"] for entry in known] == [1, 2, 3]

        pictures = {}
        for place in (0, 1, 2):  # back to where it began to learn, then forward again, by the keys a person would use
            page.focus("#checkpoint-slider")
            page.keyboard.press("Home")
            for _ in range(place):
                page.keyboard.press("ArrowRight")
            page.wait_for_function(SHOWN, arg=known[place]["name"])
            row = int(page.evaluate("window.__viewer.state.input").removeprefix("sample."))
            pictures[place] = shown_values(page)
            by_hand = maps_by_hand(run.run_dir, known[place]["name"], row)
            step = (by_hand.max((1, 2)) - by_hand.min((1, 2))).max() / 255
            np.testing.assert_allclose(pictures[place], by_hand, atol=step + 1e-6)
        assert not page.is_checked("#follow")
        assert np.abs(pictures[0] - pictures[2]).max() > 0.01  # it learned
        watched.screenshot("viewer-live-slider")

        page.click(".switch:has(#follow)")
        (marks / "epoch-3").touch()
        done = run.wait()
        assert done.code == 0, done.out
        page.wait_for_function("() => document.querySelector('#run-state').textContent === 'finished'")
        newest = checkpoints(page)[-1]
        page.wait_for_function(SHOWN, arg=newest["name"])
        assert newest["epoch"] == 4
    assert done.report == undisturbed
    assert watched.errors == [] and watched.elsewhere == []
