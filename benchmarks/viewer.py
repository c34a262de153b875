"""From the click on a layer to its 256 maps of 56 x 56: the viewer, what limits it, and what Quiver did.

Our viewer and Quiver's steps (`peers/viewer_quiver.py`) show one model, a ResNet-50 of random weights at 224 x 224, or its start with
--quick. Each turn does everything once, the order changing, every time with a picture that nobody has seen. Over HTTP the time ends with
the last byte; in the page (with Chromium and playwright) with the second animation frame after the maps were drawn.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import torch
from harness import JobFailed, Summary, paired_ratio, parser, print_table, progress, run_program
from peers.viewer_quiver import Server, save_layer_outputs
from PIL import Image

import disttrain as dt
from disttrain import layers
from disttrain.viewers import server

SYSTEMS = ["disttrain", "limits", "quiver", "page"]
BAR_MS = 200.0
LAYER, MAPS, SIDE = "stage1_block3", 256, 56
ELSEWHERE = "answer"  # the layer that is shown before the click
STAGES = {"resnet50": (3, 4, 6, 3), "start": (3,)}

CLICK, AGAIN, COLD = "click, input chosen", "click, seen before", "another input chosen"
PASS, COPY, LOOPBACK = "one forward pass", "copy of the bytes", "the bytes over HTTP"
FILES, FETCHED = "Quiver: files written", "Quiver: and fetched"
PAGE, PAGE_OWN, QUIVER_PAGE = "page: click to drawn", "page: as it says itself", "page: Quiver's 256 images"
_OF = {
    "disttrain": [CLICK, AGAIN, COLD], "limits": [PASS, COPY, LOOPBACK], "quiver": [FILES, FETCHED], "page": [PAGE, PAGE_OWN, QUIVER_PAGE],
}  # fmt: skip
RATIOS = [
    (CLICK, LOOPBACK), (COLD, PASS), (CLICK, FETCHED), (COLD, FETCHED), (PAGE, QUIVER_PAGE),
]  # fmt: skip

_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_CHOOSE = """([layer, input]) => new Promise((done) => {
    addEventListener("viewer:shown", done, {once: true});
    window.__viewer.update({layer, input, view: "activations"});
}).then(() => null)"""
_CLICK = f"""async (layer) => {{
    const began = performance.now(), status = document.querySelector("#status");
    const drawn = new Promise((done) => new MutationObserver((_, watcher) => {{
        if (status.textContent.startsWith(`${{layer}}, activations:`)) {{ watcher.disconnect(); done(); }}
    }}).observe(status, {{childList: true, characterData: true, subtree: true}}));
    const idle = new Promise((done) => addEventListener("viewer:shown", done, {{once: true}}));
    document.querySelector(`[data-layer="${{layer}}"]`).dispatchEvent(new MouseEvent("click", {{bubbles: true}}));
    await drawn;
    await {_TWO_FRAMES};
    const milliseconds = performance.now() - began;
    await idle;
    return [milliseconds, window.__viewer.shown.milliseconds, window.__viewer.shown.packs[0].header.count];
}}"""
_IMAGES = f"""async (address) => {{
    document.body.replaceChildren();
    const began = performance.now();
    const names = await (await fetch(address)).json();
    await Promise.all(names.map((name) => {{
        const image = document.body.appendChild(new Image());
        image.src = "/temp-file/" + encodeURIComponent(name);
        return image.decode();
    }}));
    await {_TWO_FRAMES};
    return performance.now() - began;
}}"""


def network(stages: tuple[int, ...]) -> Any:
    """A ResNet (He et al. 2016) of bottleneck blocks, of random weights."""
    x = picture = dt.Input((224, 224, 3), name="picture")

    def convolved(x: Any, filters: int, size: int, name: str, strides: int = 1, active: bool = True) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        return layers.Activation("relu", name=f"{name}_relu")(x) if active else x

    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(convolved(x, 64, 7, "stem", strides=2))
    for stage, blocks in enumerate(stages, 1):
        filters = 32 << stage
        for block in range(1, blocks + 1):
            name, strides = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            side = convolved(x, 4 * filters, 1, f"{name}_side", strides, active=False) if block == 1 else x
            x = convolved(convolved(x, filters, 1, f"{name}_in", strides), filters, 3, f"{name}_mid")
            x = layers.Add(name=f"{name}_add")([side, convolved(x, 4 * filters, 1, f"{name}_out", active=False)])
            x = layers.Activation("relu", name=name)(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return dt.Model(picture, layers.Dense(1000, activation="softmax", name=ELSEWHERE)(x), name="resnet")


class Clicks:
    """Everything that is measured, in milliseconds; each call takes a picture of its own.

    Args:
        model: what is looked into.
        url: of our viewer.
        quiver: the peer's server.
        folder: a folder with `pictures` and `png` in it.
    """

    def __init__(self, model: Any, url: str, quiver: Server, folder: Path) -> None:
        self.model, self.url, self.quiver, self.folder = model, url, quiver, folder
        self.ids = {item["name"]: item["id"] for item in json.loads(get(f"{url}api/inputs?limit=500"))["items"]}
        self._pictures = iter(sorted(self.ids))
        self._x = torch.rand(1, 224, 224, 3)
        self._bytes = np.zeros((MAPS, SIDE, SIDE), np.uint8)

    def disttrain(self) -> dict[str, float]:
        """Over HTTP: a click on a layer finds the pass of the chosen input; another input, the same layer shown, needs one."""
        chosen, other = self._next()[1], self._next()[1]
        get(f"{self.url}api/predictions?input={chosen}")
        found = {CLICK: timed(lambda: self._maps(chosen)), AGAIN: timed(lambda: self._maps(chosen))}
        return {**found, COLD: timed(lambda: self._maps(other))}

    def _maps(self, input_id: str) -> None:
        packed = get(f"{self.url}api/activations?layer={LAYER}&view=activations&start=0&count={MAPS}&input={input_id}")
        if len(packed) <= MAPS * SIDE * SIDE:
            raise JobFailed(f"the viewer answered with {len(packed)} bytes: expected {MAPS} maps of {SIDE} x {SIDE}")

    def limits(self) -> dict[str, float]:
        """What no viewer can be faster than: the pass where it was not done, a copy, the way through a socket."""

        def forward() -> None:
            with torch.no_grad():  # of this thread
                self.model(self._x, training=False)

        sent = timed(lambda: get(f"{self.quiver.url}bytes"))
        return {PASS: timed_as_request(forward), COPY: timed(self._bytes.tobytes), LOOPBACK: sent}

    def peer(self) -> dict[str, float]:
        """In this process, then the files one by one, as an <img> each would ask for them."""
        names: list[str] = []
        picture, folder = self.folder / "pictures" / self._next()[0], self.folder / "png"
        written = timed_as_request(lambda: names.extend(save_layer_outputs(self.model, LAYER, picture, folder)))
        return {FILES: written, FETCHED: written + timed(lambda: [get(f"{self.quiver.url}temp-file/{quote(name)}") for name in names])}

    def page(self, ours: Any, theirs: Any) -> dict[str, float]:
        """In a browser: ours with the input chosen, Quiver's images all asked for at once."""
        ours.evaluate(_CHOOSE, [ELSEWHERE, self._next()[1]])
        drawn, own, count = ours.evaluate(_CLICK, LAYER)
        if count != MAPS:
            raise JobFailed(f"the page drew {count} maps: expected {MAPS}")
        return {PAGE: drawn, PAGE_OWN: own, QUIVER_PAGE: theirs.evaluate(_IMAGES, f"/layer/{LAYER}/{quote(self._next()[0])}")}

    def _next(self) -> tuple[str, str]:
        name = next(self._pictures)
        return name, self.ids[name]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The turns, then the tables."""
    name = "start" if options.quick and options.model is None else options.model or "resnet50"
    repeats = options.repeats or (3 if options.quick else 15)
    model = network(STAGES[name])
    for part in ("pictures", "png"):
        (folder / part).mkdir()
    write_pictures(folder / "pictures", 5 * (repeats + 1))
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        viewer = stack.enter_context(server.launch(model, input_folder=folder / "pictures", port=0, block=False))
        quiver = stack.enter_context(Server(model, folder / "pictures", folder / "png", bytes(MAPS * SIDE * SIDE)))
        clicks = Clicks(model, viewer.url, quiver, folder)
        work: dict[str, Callable[[], dict[str, float]]] = {"disttrain": clicks.disttrain, "limits": clicks.limits, "quiver": clicks.peer}
        if "page" in options.systems and (pages := stack.enter_context(browser_pages(viewer.url, quiver.url))):
            work["page"] = lambda: clicks.page(*pages)
        taking_part = [system for system in work if system in options.systems]
        for turn in range(repeats + 1):
            for system in taking_part if turn % 2 == 0 else reversed(taking_part):
                for what, milliseconds in work[system]().items():
                    if turn:  # in the first, memory and files are touched for the first time
                        found.setdefault(what, []).append(milliseconds)
            progress(f"turn {turn}/{repeats}" + ("" if turn else ", not counted"))
    print(f"a layer of {MAPS} maps of {SIDE} x {SIDE} of {name}, {torch.get_num_threads()} threads of torch, {repeats} turns")
    return {"model": name, "milliseconds": found, "bar_ms": BAR_MS, "ratios": _print(found)}


def _print(found: dict[str, list[float]]) -> dict[str, Summary]:
    barred = {CLICK, AGAIN, PAGE, PAGE_OWN}  # another input needs a pass, which a larger model makes as slow as one likes
    ordered = [what for system in SYSTEMS for what in _OF[system] if what in found]
    rows = [[what, Summary.of(found[what]).text(2), f"below {BAR_MS:.0f}" if what in barred else ""] for what in ordered]
    print_table(["milliseconds", "median (range)", "bar"], rows)
    ratios = {f"{ours} / {other}": paired_ratio(found[ours], found[other]) for ours, other in RATIOS if {ours, other} <= set(found)}
    if ratios:
        print_table(["less is better", "ratio"], [[label, ratio.text(3)] for label, ratio in ratios.items()])
    return ratios


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds that a call takes."""
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)


def timed_as_request(work: Callable[[], Any]) -> float:
    """The same in a thread of its own, as servers answer: torch's passes take another time there, on a busy machine a much shorter one."""
    taken: list[float] = []
    thread = threading.Thread(target=lambda: taken.append(timed(work)))
    thread.start()
    thread.join()
    if not taken:
        raise JobFailed("what was measured failed; its traceback is above")
    return taken[0]


def get(url: str) -> bytes:
    """The body of an answer of this machine; every request opens a connection, as werkzeug's server keeps none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise JobFailed(f"{url} answered {reply.status}: {body[:300]!r}")
    return body


def write_pictures(folder: Path, count: int) -> None:
    """Pictures of waves and noise, no two alike."""
    rng = np.random.default_rng(0)
    places = np.linspace(0, 2 * np.pi, 224)
    for number in range(count):
        waves = np.sin(places[:, None, None] * rng.uniform(1, 9, 3)) * np.cos(places[None, :, None] * rng.uniform(1, 9, 3))
        pixels = np.clip(128 + 90 * waves + rng.normal(0, 12, (224, 224, 3)), 0, 255)
        Image.fromarray(np.uint8(pixels)).save(folder / f"{number:03}.png")


@contextmanager
def browser_pages(*urls: str) -> Iterator[list[Any] | None]:
    """A page of a headless Chromium at each address; None, and said so, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None or find_spec("playwright") is None:
        print("note: without the page, which needs Chromium (apt install chromium) and playwright (pip install playwright)\n", flush=True)
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=["--no-sandbox", "--disable-gpu"])
        pages = [browser.new_page(viewport={"width": 1400, "height": 900}) for _ in urls]
        for page, url in zip(pages, urls, strict=True):
            page.goto(url)
        pages[0].wait_for_selector("#maps:visible")
        yield pages
        browser.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    made = parser(__doc__ or "", SYSTEMS)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--model", choices=list(STAGES), help="a whole ResNet-50, or its first stage (default: resnet50, quick start)")
    made.add_argument("--repeats", type=int, help="turns (default: 15, quick 3)")
    return run_program("viewer", made.parse_args(arguments), measure)


if __name__ == "__main__":
    sys.exit(main())
