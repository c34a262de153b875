"""The activation viewer, driven as a person would: each kind of layer, inputs of each kind, what goes wrong, and what the picture says."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from viewed_models import branched

from disttrain.viewers import server

pytestmark = [pytest.mark.browser, pytest.mark.leaves_behind("processes", "threads")]


def _models() -> Any:
    spec = importlib.util.spec_from_file_location("viewer_models", Path(__file__).with_name("viewer_models.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = _models()

SHOWN = """([layer, view]) => {
    const text = document.querySelector("#status").textContent;
    return text.startsWith(`${layer}, ${view}:`) && document.querySelector("#figure").getAttribute("aria-busy") === "false";
}"""
PACK = """(side) => {
    const {header, data} = window.__viewer.shown.packs[side];
    return {...header, data: Array.from(data)};
}"""
EXACT = """async ([layer, input]) => {
    const {decode} = await import("/page/api.js");
    const query = new URLSearchParams({layer, input, view: "activations", exact: 1});
    const {header, data} = decode(await (await fetch(`/api/activations?${query}`)).arrayBuffer());
    return {...header, data: Array.from(data)};
}"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six rings of 28 x 28."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows, columns = np.mgrid[:28, :28]
    for number in range(6):
        distance = np.hypot(rows - 10 - number, columns - 12 - number / 2)
        Image.fromarray(np.uint8(255 * np.exp(-((distance - 7) ** 2) / 4))).save(folder / f"ring-{number}.png")
    return folder


Opener = Callable[..., Any]


@pytest.fixture
def opened(watched: Any) -> Iterator[Opener]:
    """Open a model in the page; every viewer stops at the end."""
    running = []

    def opening(model: Any, folder: Path, *, hash: str = "", drawn: bool = True, **options: Any) -> Any:
        viewer = server.launch(model, input_folder=folder, port=0, **{"rescale": 1 / 255, "block": False, **options})
        running.append(viewer)
        watched.page.goto(viewer.url + hash)
        if drawn:
            watched.page.wait_for_selector("#maps:visible")
            watched.page.wait_for_selector("#statistics canvas")
        return viewer

    yield opening
    for viewer in running:
        viewer.stop()


def choose(page: Any, layer: str, view: str = "activations") -> dict[str, Any]:
    """Click a layer, then the tab of a view; what is drawn then."""
    page.click(f'[data-layer="{layer}"] .box')
    page.click(f'#tabs [data-view="{view}"]')
    page.wait_for_function(SHOWN, arg=[layer, view])
    return page.evaluate(PACK, 0)


def picture_of(folder: Path, number: int) -> torch.Tensor:
    pixels = np.asarray(Image.open(folder / f"ring-{number}.png"), dtype=np.float32)
    return torch.as_tensor(pixels[None, :, :, None] / 255)


def values_of(pack: dict[str, Any]) -> np.ndarray:
    """The maps as numbers, from the bytes that the page got."""
    maps = np.asarray(pack["data"], dtype=np.float64).reshape(pack["count"], pack["height"], pack["width"])
    low, high = (np.asarray(pack[name])[:, None, None] for name in ("minimum", "maximum"))
    return low + maps / 255 * (high - low)


def test_a_feature_map_on_the_screen_is_what_a_forward_pass_gives(opened: Opener, watched: Any, pictures: Path) -> None:
    model, page = models.branches(), watched.page
    opened(model, pictures)
    page.click('.card[title="ring-3.png"]')
    pack = choose(page, "conv2d")
    page.wait_for_function("() => document.querySelector('#input-shown figcaption').textContent === 'ring-3.png'")
    pack = page.evaluate(PACK, 0)
    with torch.no_grad():
        expected = model.get_layer("conv2d")(picture_of(pictures, 3))[0].permute(2, 0, 1).numpy()
    step = float((expected.max((1, 2)) - expected.min((1, 2))).max()) / 255
    assert pack["form"] == "maps" and pack["shape"] == [28, 28, 8]
    assert np.abs(values_of(pack) - expected).max() <= step
    exact = page.evaluate(EXACT, ["conv2d", page.evaluate("() => window.__viewer.state.input")])
    np.testing.assert_allclose(np.reshape(exact["data"], expected.shape), expected, rtol=1e-5, atol=1e-6)
    box = page.locator("#maps").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    found = re.fullmatch(r"map (\d+), row (\d+), column (\d+): (\S+)", page.inner_text("#hover"))
    assert found is not None
    channel, row, column = map(int, found.groups()[:3])
    assert float(found[4]) == pytest.approx(float(expected[channel, row, column]), abs=step + 1e-3)
    watched.screenshot("viewer-feature-maps")
    assert watched.errors == [] and watched.elsewhere == []


def test_each_kind_of_layer_of_a_branching_network_is_drawn_in_its_own_way(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    drawn = {
        layer: choose(page, layer)["form"] for layer in ("picture", "pool", "strided", "add", "backbone/inside", "norm", "hidden", "digits")
    }
    assert drawn == dict.fromkeys(("picture", "pool", "strided", "add", "backbone/inside", "norm"), "maps") | {
        "hidden": "bars",
        "digits": "bars",
    }
    assert choose(page, "strided", "filters")["view"] == "filters"
    choose(page, "hidden")
    page.select_option("#order", "value")
    box = page.locator("#maps").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 100)
    assert re.fullmatch(r"unit \d+: \S+", page.inner_text("#hover"))
    assert "probab" not in page.inner_text("#status") and page.locator("#predictions li").count() == 5
    assert "units" in page.inner_text("#statistics")
    assert watched.errors == [] and watched.elsewhere == []


def test_a_map_is_enlarged_by_a_click_and_turned_by_keys(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    choose(page, "conv2d")
    page.click("#maps", position={"x": 30, "y": 30})
    assert page.evaluate("() => window.__viewer.state.enlarged") == 0
    assert page.is_visible("#enlarged-back")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => window.__viewer.state.enlarged") == 1
    page.keyboard.press("Escape")
    assert page.evaluate("() => window.__viewer.state.enlarged") is None
    page.select_option("#colour", "grey")
    page.select_option("#scale", "shared")
    assert page.inner_text("#legend-low") == "0"
    assert watched.errors == []


def test_attribution_lies_over_the_picture_for_a_chosen_class(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures, classes=[f"digit {number}" for number in range(10)])
    choose(page, "backbone/inside", "attribution")
    assert page.locator("#target option").count() == 11
    maps = {}
    for method in ("gradcam", "gradient", "integrated"):
        with page.expect_response(lambda answer, method=method: f"method={method}" in answer.url and "class=7" in answer.url):
            page.select_option("#method", method)
            page.select_option("#target", "7")
        page.wait_for_function("() => document.querySelector('#figure').getAttribute('aria-busy') === 'false'")
        maps[method] = page.evaluate(PACK, 0)["data"]
        page.select_option("#target", "")
    assert len(maps["gradient"]) == 28 * 28 and maps["gradient"] != maps["integrated"]
    watched.screenshot("viewer-attribution")
    assert watched.errors == [] and watched.elsewhere == []


def test_two_inputs_stand_side_by_side_on_one_scale(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    page.emulate_media(color_scheme="dark")
    opened(models.branches(), pictures)
    choose(page, "strided")
    page.select_option("#compare", "inputs")
    assert page.evaluate("""() => [...document.querySelector("#compare").options].every(({text}) => {
        const [select, style] = [document.querySelector("#compare"), getComputedStyle(document.querySelector("#compare"))];
        const context = document.createElement("canvas").getContext("2d");
        context.font = style.font;
        return context.measureText(text).width + 30 <= select.clientWidth;
    })""")  # no choice is cut off
    page.click('.card[title="ring-4.png"]')
    page.wait_for_function("() => document.querySelector('#side-b-name').textContent === 'B: ring-4.png'")
    page.wait_for_function("() => window.__viewer.shown.packs.length === 2 && document.querySelectorAll('#predictions ol').length === 2")
    assert page.is_visible("#maps-b")
    assert page.evaluate(PACK, 0)["data"] != page.evaluate(PACK, 1)["data"]
    watched.screenshot("viewer-compare-dark")
    page.select_option("#compare", "")
    page.wait_for_function("() => window.__viewer.shown.packs.length === 1")
    assert not page.is_visible("#maps-b")
    assert watched.errors == []


def test_recurrent_layers_show_units_over_time_and_their_gates(opened: Opener, watched: Any, tmp_path: Path) -> None:
    page = watched.page
    np.save(tmp_path / "waves.npy", np.sin(np.arange(180, dtype=np.float32).reshape(3, 20, 3) / 5))
    opened(models.recurrent(), tmp_path)
    assert page.locator(".card").count() == 3
    pack = choose(page, "both_ways")
    assert (pack["form"], pack["height"], pack["width"]) == ("heatmap", 12, 20)
    gates = choose(page, "both_ways", "gates")
    assert gates["count"] == 8 and any("forget" in name for name in gates["labels"])
    watched.screenshot("viewer-gates")
    assert choose(page, "both_ways", "state")["form"] == "heatmap"
    assert choose(page, "gru", "activations")["form"] in ("bars", "heatmap")
    page.click("#type-input")
    page.fill("#typed", "\n".join("0.1 0.2 0.3" for _ in range(20)))
    page.click("#typing .primary")
    page.wait_for_function("() => window.__viewer.state.input.startsWith('sent.')")
    assert watched.errors == [] and watched.elsewhere == []


def test_attention_is_a_map_a_head_for_typed_tokens(opened: Opener, watched: Any, tmp_path: Path) -> None:
    page = watched.page
    opened(models.attention(), tmp_path, drawn=False)
    page.click("#type-input")
    page.fill("#typed", "1 2 3 4 5 6 7 8 9 10 11 12")
    page.click("#typing .primary")
    page.wait_for_selector("#maps:visible")
    page.click("#typing-close")
    pack = choose(page, "heads", "attention")
    assert (pack["count"], pack["height"], pack["width"]) == (4, 12, 12)
    np.testing.assert_allclose(values_of(pack).sum(-1), 1, atol=0.02)
    box = page.locator("#maps").bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 120)
    assert re.fullmatch(r"head \d+, .+ \d+, .+ \d+: \S+", page.inner_text("#hover"))
    watched.screenshot("viewer-attention")
    assert watched.errors == [] and watched.elsewhere == []


def test_signals_are_drawn_as_lines(opened: Opener, watched: Any, tmp_path: Path) -> None:
    page = watched.page
    np.save(tmp_path / "signal.npy", np.sin(np.arange(64, dtype=np.float32) / 4)[None, :, None])
    opened(models.signals(), tmp_path)
    pack = choose(page, "conv1d")
    assert (pack["form"], pack["count"], pack["width"]) == ("lines", 6, 60)
    box = page.locator("#maps").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    assert re.fullmatch(r"line \d+, step \d+: \S+", page.inner_text("#hover"))
    watched.screenshot("viewer-lines")
    choose(page, "alarm")
    assert page.inner_text("#status").startswith("alarm, activations: 1 unit ·")
    choose(page, "signal", "attribution")  # there are no maps for Grad-CAM
    assert page.input_value("#method") == "gradient" and page.is_disabled("#method option[value=gradcam]")
    watched.screenshot("viewer-attribution-of-a-signal")
    assert watched.errors == [] and watched.elsewhere == []


def test_of_two_inputs_the_gradient_of_the_chosen_one_is_shown(opened: Opener, watched: Any, tmp_path: Path) -> None:
    page = watched.page
    np.savez(tmp_path / "pair.npz", a=np.random.default_rng(0).random((1, 8, 8, 1), np.float32), b=np.ones((1, 4), np.float32))
    opened(branched(), tmp_path)
    choose(page, "b", "attribution")
    page.select_option("#method", "gradient")
    page.wait_for_function("() => window.__viewer.shown.packs[0]?.header.form === 'bars'")
    assert page.evaluate(PACK, 0)["shape"] == [4]
    choose(page, "a", "attribution")
    page.wait_for_function("() => window.__viewer.shown.packs[0]?.header.form === 'maps'")
    assert page.evaluate(PACK, 0)["shape"] == [8, 8]
    assert watched.errors == [] and watched.elsewhere == []


def test_layers_are_found_and_walked_by_keys_and_a_nested_model_folds(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    page.keyboard.press("/")
    page.keyboard.type("inside")
    assert page.locator("#graph .node:not(.dim)").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_function(SHOWN, arg=["backbone/inside", "activations"])
    page.fill("#layer-search", "")
    choose(page, "conv2d")
    page.focus("#graph")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("() => ['pool', 'strided'].includes(window.__viewer.state.layer)")
    page.click('[data-layer="backbone"] .fold')
    assert page.locator('[data-layer="backbone/inside"]').count() == 0
    page.click('[data-layer="backbone"] .fold')
    assert page.locator('[data-layer="backbone/inside"]').count() == 1
    page.keyboard.press("?")
    assert page.is_visible("#help") and "next layer" in page.inner_text("#help")
    page.keyboard.press("Escape")
    before = page.get_attribute("#graph", "viewBox")
    page.click("#zoom-in")
    assert page.get_attribute("#graph", "viewBox") != before
    assert watched.errors == []


def test_a_link_comes_back_to_what_was_chosen(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    page.click('.card[title="ring-2.png"]')
    choose(page, "strided", "filters")
    page.reload()
    page.wait_for_function(SHOWN, arg=["strided", "filters"])
    page.wait_for_function("() => document.querySelector('#input-shown figcaption')?.textContent === 'ring-2.png'")
    assert page.get_attribute('[data-layer="strided"]', "aria-selected") == "true"
    assert watched.errors == []


def test_a_link_to_a_layer_that_is_not_there_says_so(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures, hash="#layer=gone%2Flayer&checkpoint=gone")
    assert "There is no layer gone/layer; conv2d is shown instead" in page.inner_text("#banner")
    assert "The checkpoint of this link is not there any more" in page.inner_text("#banner")
    page.evaluate("() => (location.hash = '#layer=strided')")  # a link that names no input leaves the one that is shown
    page.wait_for_function(SHOWN, arg=["strided", "activations"])
    assert page.get_attribute("#tabs [data-view=activations]", "aria-selected") == "true" and watched.errors == []
    page.evaluate("() => (location.hash = '#layer=stride')")
    page.wait_for_selector("#empty.wrong:visible")
    assert "There is no layer 'stride'" in page.inner_text("#empty") and "strided" in page.inner_text("#empty")


def test_a_drawing_is_shown_to_the_model_after_each_stroke(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    page.click("#draw")
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 140, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 240, steps=8)
    page.mouse.up()
    page.wait_for_function("() => window.__viewer.state.input.startsWith('sent.')")
    watched.screenshot("viewer-drawing")
    page.click("#pad-close")
    pack = choose(page, "picture")
    drawn = values_of(pack)[0]
    assert drawn[14, 14] > 0.9 and drawn[14, 2] == pytest.approx(0, abs=0.01)
    assert watched.errors == [] and watched.elsewhere == []


def test_an_uploaded_picture_is_shown_and_an_unreadable_one_explained(opened: Opener, watched: Any, pictures: Path, tmp_path: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    page.set_input_files("#upload-file", str(pictures / "ring-5.png"))
    page.wait_for_function("() => window.__viewer.state.input.startsWith('sent.')")
    choose(page, "conv2d")
    assert watched.errors == []
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"this is no picture")
    page.set_input_files("#upload-file", str(broken))
    page.wait_for_selector("#banner:visible")
    assert "broken.png" in page.inner_text("#banner")
    page.click("#banner-close")
    choose(page, "strided")  # and everything goes on
    assert all("422" in error for error in watched.errors) and watched.elsewhere == []


def test_an_unreadable_picture_of_the_folder_is_explained_and_the_others_work(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    (pictures / "broken.png").write_bytes(b"this is no picture")
    opened(models.branches(), pictures, drawn=False)
    page.click('.card[title="broken.png"]')
    page.wait_for_selector("#empty.wrong:visible")
    assert "broken.png" in page.inner_text("#empty")
    page.click('.card[title="ring-1.png"]')
    page.wait_for_selector("#maps:visible")
    assert not page.is_visible("#empty")
    assert all("Failed to load resource" in error for error in watched.errors)


def test_an_empty_folder_says_so_and_filters_are_there_all_the_same(opened: Opener, watched: Any, tmp_path: Path) -> None:
    page = watched.page
    opened(models.branches(), tmp_path, drawn=False)
    page.wait_for_selector(".strip-message")
    assert str(tmp_path) in page.inner_text("#inputs")
    assert "input" in page.inner_text("#empty") and page.inner_text("#status") == page.inner_text("#empty")
    page.click('[data-layer="conv2d"] .box')
    page.click('#tabs [data-view="filters"]')
    page.wait_for_function(SHOWN, arg=["conv2d", "filters"])
    assert watched.errors == []


def test_ten_tabs_show_each_their_own_layer_and_one_closes_unharmed(opened: Opener, watched: Any, pictures: Path) -> None:
    viewer = opened(models.branches(), pictures)
    names = ("picture", "conv2d", "pool", "strided", "add", "backbone/inside", "norm", "hidden", "digits", "flatten")
    tabs = [watched.page.context.new_page() for _ in names]
    for tab, name in zip(tabs, names, strict=True):
        tab.goto(f"{viewer.url}#layer={name.replace('/', '%2F')}", wait_until="commit")
    tabs.pop(0).close()
    for tab, name in zip(tabs, names[1:], strict=True):
        tab.wait_for_function(SHOWN, arg=[name, "activations"])
    choose(watched.page, "strided")
    assert watched.errors == []


def test_a_viewer_that_went_away_is_named_and_found_again(opened: Opener, watched: Any, pictures: Path) -> None:
    page, model = watched.page, models.branches()
    viewer = opened(model, pictures)
    port = int(viewer.url.rstrip("/").rsplit(":", 1)[1])
    viewer.stop()
    page.click('[data-layer="strided"] .box')
    page.wait_for_selector("#banner.lost:visible")
    with server.launch(model, input_folder=pictures, port=port, block=False):
        page.wait_for_selector("#banner", state="hidden")
        page.wait_for_function(SHOWN, arg=["strided", "activations"])
    assert watched.elsewhere == []


def test_light_and_dark_are_a_switch_that_stays(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    choose(page, "strided")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    page.reload()
    page.wait_for_selector("#maps:visible")
    assert dark != light and page.evaluate(ground) == dark
    page.wait_for_function(DRAWN_FOR, arg="dark")
    page.evaluate("() => localStorage.clear()")  # nobody has chosen: as the system is
    page.reload()
    page.wait_for_selector("#maps:visible")
    for theme in ("light", "dark", "light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(DRAWN_FOR, arg=theme)
    watched.screenshot("viewer-dark")
    page.set_viewport_size({"width": 1000, "height": 700})
    page.wait_for_selector("#maps:visible")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    watched.screenshot("viewer-narrow")
    assert watched.errors == []


OUTSIDE = """() => [...document.querySelectorAll("button, select, input, h2, #maps, .card")].filter((one) => {
    const box = one.getBoundingClientRect();
    const elsewhere = one.closest(".strip, #graph, [hidden]") || one.matches(".switch input");
    return box.width && !elsewhere && (box.right > innerWidth + 1 || box.left < -1);
}).map((one) => one.id || one.className)"""
SIZES = """() => [window.__viewer.shown.packs[0].header, ...["#maps", "#figure"].map((one) =>
    document.querySelector(one).getBoundingClientRect().toJSON())]"""
DRAWN_FOR = """(theme) => {
    const ground = document.querySelector("#maps").getContext("2d").getImageData(2, 2, 1, 1).data;
    return theme === "dark" ? ground[1] < 128 : ground[1] >= 128;
}"""
FOCUSED = """() => {
    const one = document.activeElement;
    return [one.id || one.className, one.getBoundingClientRect().width > 0];
}"""


def test_at_every_width_all_is_there_nothing_lies_outside_and_maps_fill_their_place(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    for width, height in ((400, 800), (800, 900), (1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        choose(page, "strided")
        page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(OUTSIDE) == []
        header, size, place = page.evaluate(SIZES)
        free = (
            max((place["width"] - 40 - size["width"]) / place["width"], 0),
            max((place["height"] - 40 - size["height"]) / place["height"], 0),
        )
        assert min(free) < 0.25 or header["count"] == 1, (width, free)  # full in one direction: larger would not fit
        for theme in ("light", "dark"):
            if page.evaluate("() => document.documentElement.dataset.theme ?? 'light'") != theme:
                page.click("#theme")
                page.wait_for_function(DRAWN_FOR, arg=theme)
            watched.screenshot(f"viewer-{width}-{theme}", full_page=width < 920)
    assert watched.errors == []


def test_a_layer_chosen_while_the_viewer_is_away_does_not_show_anothers_maps(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    viewer = opened(models.branches(), pictures)
    choose(page, "strided")
    viewer.stop()
    page.click('[data-layer="hidden"] .box')
    page.wait_for_selector("#empty.wrong:visible")
    assert page.inner_text("#layer-name") == "hidden" and not page.is_visible("#maps")


def test_everything_is_reached_by_the_keyboard_alone(opened: Opener, watched: Any, pictures: Path) -> None:
    page = watched.page
    opened(models.branches(), pictures)
    page.evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        reached.add(here[0])
        assert here[1], here  # nothing that cannot be seen takes the focus
    assert {"theme", "help-open", "input-search", "upload", "layer-search", "graph", "compare", "maps"} <= reached
