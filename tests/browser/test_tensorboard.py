"""TensorBoard itself, in a headless Chromium, on what a small fit wrote: its pages show the curves, the graph and the rest."""

import re

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
from disttrain.viewers import tensorboard

pytestmark = [pytest.mark.browser, pytest.mark.leaves_behind("processes", "threads")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """TensorBoard on a fit of an image model with a branch and a nested model."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 1)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(np.int64)
    inner_input = dt.Input((8, 8, 4), name="maps")
    inner = dt.Model(inner_input, layers.Conv2D(4, 3, padding="same", name="deeper")(inner_input), name="block")
    inputs = dt.Input((8, 8, 1), name="picture")
    stem = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    merged = layers.Add(name="merged")([stem, inner(stem)])
    outputs = layers.Dense(2, name="logits")(layers.Flatten(name="flat")(merged))
    model = dt.Model(inputs, outputs, name="small")
    model.compile("adam", dt.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    folder = tmp_path_factory.mktemp("board")
    board = dt.callbacks.TensorBoard(
        folder, histogram_freq=1, write_images=True, update_freq=2, hparams={"filters": 4, "optimizer": "adam"},
        histograms=("weights", "activations"), activation_samples=x[:8],
    )  # fmt: skip
    model.fit(x, y, batch_size=8, epochs=6, validation_data=(x, y), verbose=0, callbacks=[board])
    with tensorboard.launch(folder, port=0, block=False) as running:
        yield running


def opened(watched, server, page):
    watched.page.goto(f"{server.url}?darkMode=false#{page}", wait_until="domcontentloaded")
    return watched.page


def found(page, tag):
    """Wait for a tag; those of other layers are folded away until the filter asks for them."""
    page.locator("tf-tag-filterer input").fill(f"^{tag}$")
    page.get_by_text(f"tag: {tag}").first.wait_for(state="attached")


def test_the_curves_are_there_for_training_and_validation(watched, server):
    page = opened(watched, server, "scalars")
    for tag in ("epoch_loss", "epoch_accuracy", "epoch_learning_rate", "batch_loss", "evaluation_loss_vs_iterations"):
        page.get_by_text(tag, exact=True).first.wait_for(state="attached")
    for run in ("train", "validation"):
        page.get_by_text(run, exact=True).first.wait_for()
    page.wait_for_timeout(1500)  # for the picture only: the lines are drawn by and by
    watched.screenshot("tensorboard-scalars")


def test_the_graph_page_shows_the_layers_and_the_nested_model(watched, server):
    page = opened(watched, server, "graphs")
    for name in ("picture", "stem", "block", "merged", "flat", "logits"):
        page.locator("g.node text, g.nodeshape text, g.nodes text").get_by_text(name, exact=True).first.wait_for(state="attached")
    page.wait_for_timeout(1500)
    watched.screenshot("tensorboard-graph")


def test_the_histograms_are_those_of_each_weight(watched, server):
    page = opened(watched, server, "histograms")
    for tag in ("logits/kernel/histogram", "stem/activation/histogram", "block/deeper/kernel/histogram"):
        found(page, tag)
    page.locator("tf-tag-filterer input").fill("")
    page.wait_for_timeout(1500)
    watched.screenshot("tensorboard-histograms")


def test_the_images_are_those_of_each_weight(watched, server):
    page = opened(watched, server, "images")
    found(page, "stem/kernel/image")
    page.locator("tf-tag-filterer input").fill("")
    page.wait_for_timeout(1500)
    watched.screenshot("tensorboard-images")


def test_the_hyperparameters_stand_beside_the_metrics(watched, server):
    page = opened(watched, server, "hparams")
    for text in ("filters", "optimizer"):
        page.get_by_text(re.compile(text)).first.wait_for(state="attached")
    page.get_by_text(re.compile("val_loss")).first.wait_for(state="attached")
    page.wait_for_timeout(1500)
    watched.screenshot("tensorboard-hparams")


def test_the_text_says_how_the_model_is_made(watched, server):
    page = opened(watched, server, "text")
    page.get_by_text(re.compile("Trainable params|Total params")).first.wait_for(state="attached")
    watched.screenshot("tensorboard-text")
