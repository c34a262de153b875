"""The activation viewer: from the click on a layer of 256 maps of 56 x 56 to its numbers, and to its picture in a browser.

Beside it, alternating within one run: what its predecessor Quiver does at a click (a model up to the layer made anew, a forward pass, one
PNG file a map, each fetched over HTTP; https://github.com/keplr-io/quiver), and the least that any viewer needs: one forward pass the first
time, and nothing but the bytes from then on. Every repeat looks at a picture that was not seen before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import torch
from harness import Summary, paired_ratio, parser, print_table, progress, run_program
from PIL import Image

BAR_MS = 200.0  # from the click to the picture, of a layer of 256 maps of 56 x 56
REPEATS, QUICK_REPEATS = 15, 5
SYSTEMS = ["disttrain", "browser", "quiver"]
FIRST, CLICKED = "wide_1", "wide_2"  # two layers of 256 maps of 56 x 56


def make_model() -> Any:
    """The beginning of a residual network for pictures of 224 x 224."""
    import disttrain as dt
    from disttrain import layers

    dt.set_random_seed(0)
    inputs = dt.Input((224, 224, 3), name="picture")
    x = layers.Conv2D(64, 7, strides=2, padding="same", activation="relu", name="stem")(inputs)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    wide = layers.Conv2D(256, 1, activation="relu", name=FIRST)(x)
    narrow = layers.Conv2D(64, 3, padding="same", activation="relu", name="narrow")(layers.Conv2D(64, 1, name="squeeze")(wide))
    x = layers.Add(name="sum")([wide, layers.Conv2D(256, 1, name=CLICKED)(narrow)])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return dt.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="residual")


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of noise, each another one."""
    folder.mkdir()
    paths = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (28, 28, 3), dtype=np.uint8)
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(pixels).resize((224, 224)).save(paths[-1])
    return paths


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """(milliseconds, what it gave)."""
    began = time.perf_counter()
    found = work(*arguments)
    return (time.perf_counter() - began) * 1000, found


class Ours:
    """The viewer's server, asked over HTTP."""

    def __init__(self, model: Any, folder: Path) -> None:
        from disttrain.viewers import server

        self.viewer = server.launch(model, input_folder=folder, port=0, block=False)
        entries = json.load(urlopen(f"{self.viewer.url}api/inputs?limit=1000"))["items"]
        self._ids = {entry["name"]: entry["id"] for entry in entries}

    def click(self, layer: str, picture: Path) -> bytes:
        """The packed maps."""
        chosen = quote(self._ids[picture.name], safe="")
        with urlopen(f"{self.viewer.url}api/activations?layer={layer}&input={chosen}") as answer:
            return bytes(answer.read())


class Quiver:
    """What Quiver's server does at a click, and what its page then fetches, six at a time as a browser does."""

    def __init__(self, model: Any, folder: Path) -> None:
        from werkzeug.middleware.shared_data import SharedDataMiddleware
        from werkzeug.serving import WSGIRequestHandler, make_server
        from werkzeug.wrappers import Response

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *_: Any) -> None:
                pass

        self._model, self._folder = model, folder
        folder.mkdir()
        app = SharedDataMiddleware(Response("not there", 404), {"/": str(folder)})
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._browser = ThreadPoolExecutor(6)

    def click(self, layer: str, picture: Path) -> int:
        """How many bytes came."""
        names = self._write(layer, picture)
        return sum(self._browser.map(self._fetch, names))

    def _write(self, layer: str, picture: Path) -> list[str]:
        import disttrain as dt

        pixels = np.asarray(Image.open(picture).resize((224, 224)), np.float32)[None] / 255
        outputs = dt.Model(self._model.inputs, self._model.get_layer(layer).output).predict(pixels, verbose=0)
        names = []
        for number in range(outputs.shape[-1]):
            names.append(f"{layer}_{number}_{picture.stem}.png")
            Image.fromarray(_deprocessed(outputs[0, :, :, number])).save(self._folder / names[-1])
        return names

    def _fetch(self, name: str) -> int:
        with urlopen(f"http://127.0.0.1:{self._server.server_port}/{name}") as answer:
            return len(answer.read())

    def close(self) -> None:
        self._browser.shutdown()
        self._server.shutdown()
        self._server.server_close()


def _deprocessed(values: np.ndarray) -> np.ndarray:
    """Quiver's picture of a map: brought to mean 0.5 and a deviation of 0.1, cut off at 0 and 1."""
    values = (values - values.mean()) / (values.std() + 1e-5) * 0.1 + 0.5
    return np.uint8(np.clip(values, 0, 1) * 255)


class Browser:
    """The viewer's page in a headless Chromium: from the click to the drawn picture, as the page itself counts it."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        from playwright.sync_api import sync_playwright

        playwright = stack.enter_context(sync_playwright())
        opened = playwright.chromium.launch(executable_path=chromium(), headless=True, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(opened.close)
        self._page = opened.new_page(viewport={"width": 1440, "height": 900})
        self._page.goto(url)
        self._page.wait_for_selector("#maps:visible")

    def click(self, layer: str, picture: Path) -> float:
        """Milliseconds to the picture of `layer`, of an input that another layer was seen of before."""
        page = self._page
        page.click(f'.card[title^="{picture.stem}"]')
        self._shown(FIRST, click=True)
        self._shown(layer, click=True)
        milliseconds = float(page.evaluate("window.__viewer.shown.milliseconds"))
        page.wait_for_load_state("networkidle")  # statistics and predictions, which come after the picture
        page.wait_for_timeout(300)
        return milliseconds

    def _shown(self, layer: str, *, click: bool) -> None:
        if click:
            self._page.click(f'[data-layer="{layer}"]')
        self._page.wait_for_function(
            "layer => document.querySelector('#status').textContent.startsWith(`${layer}, `)"
            " && document.querySelector('#figure').getAttribute('aria-busy') === 'false'",
            arg=layer,
        )


def chromium() -> str | None:
    """The path of a Chromium or Chrome."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def quiet() -> Iterator[None]:
    """The viewer says where it is; the tables alone are the result."""
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = before


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every repeat's milliseconds, by what was timed."""
    torch.set_num_threads(1)
    repeats = QUICK_REPEATS if options.quick else REPEATS
    model, pictures = make_model(), write_pictures(folder / "pictures", repeats + 1)
    times: dict[str, list[float]] = {}

    def note(what: str, milliseconds: float) -> None:
        times.setdefault(what, []).append(milliseconds)

    with ExitStack() as stack:
        with quiet():
            ours = Ours(model, folder / "pictures")
        stack.callback(ours.viewer.stop)
        quiver = Quiver(model, folder / "quiver") if "quiver" in options.systems else None
        if quiver is not None:
            stack.callback(quiver.close)
        browser = None
        if "browser" in options.systems and chromium() is not None:
            browser = Browser(ours.viewer.url, stack)
        batch = np.zeros((1, 224, 224, 3), np.float32)
        for number, picture in enumerate(pictures):
            first, _ = timed(ours.click, FIRST, picture)
            click, packed = timed(ours.click, CLICKED, picture)
            again, _ = timed(ours.click, CLICKED, picture)
            forward, _ = timed(model.predict_on_batch, batch)
            copied, _ = timed(bytearray, packed)
            theirs = timed(quiver.click, CLICKED, picture)[0] if quiver is not None else None
            drawn = browser.click(CLICKED, picture) if browser is not None else None
            if number == 0:
                continue  # everything is loaded and allocated by the first
            note("first click on a new picture", first)
            note("click", click)
            note("the same click again", again)
            note("forward pass", forward)
            note("copy of the bytes", copied)
            if theirs is not None:
                note("quiver", theirs)
            if drawn is not None:
                note("browser", drawn)
            progress(f"repeat {number} of {repeats}: click {click:.1f} ms")
    report(times)
    return {"milliseconds": times}


def report(times: dict[str, list[float]]) -> None:
    """The table: each time, and its ratio to the peer or the limit of the same repeat."""
    rows = []

    def row(what: str, name: str, beside: str | None, words: str, bar: str = "") -> None:
        if name in times and (beside is None or beside in times):
            ratio = "" if beside is None else f"{paired_ratio(times[name], times[beside]).text(3)} x {words}"
            rows.append([what, f"{Summary.of(times[name]).text(1)} ms", ratio, bar])

    row("click to bytes, picture seen before", "click", "quiver", "Quiver")
    row("click to bytes, new picture", "first click on a new picture", "forward pass", "a forward pass")
    row("the same click again", "the same click again", "copy of the bytes", "a copy of the bytes")
    row("click to picture, in Chromium", "browser", None, "", f"at most {BAR_MS:.0f} ms")
    row("Quiver, click to bytes", "quiver", None, "")
    row("a forward pass", "forward pass", None, "")
    print_table(["256 maps of 56 x 56", "time", "ratio", "bar"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    return run_program("viewer", parser(__doc__ or "", SYSTEMS).parse_args(arguments), measure)


if __name__ == "__main__":
    sys.exit(main())
