"""See what each layer makes of a digit: train a small branching network, then look into it at http://localhost:5000.

python examples/05_see_activations.py                # trains, then opens the viewer: choose a digit, click a layer; Ctrl-C ends it

Watched while it trains, from a second terminal; the slider goes back to the first epoch:
disttrain launch examples/05_see_activations.py --workers 2 --run-dir digits-run --checkpoint-every epoch --keep 40 -- --epochs 40 --no-view
disttrain view digits-run
"""

import argparse
import json
import tempfile
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import disttrain as dt
from disttrain import layers
from disttrain.viewers import server

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--port", type=int, default=5000, help="0 takes any that is free")
parser.add_argument("--no-view", action="store_true", help="train only")
parser.add_argument("--check", action="store_true", help="open the viewer, ask it for one layer, and end")
arguments = parser.parse_args()

images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)

# Names appear in the viewer's graph. Two branches look at the same maps: one at shapes, one at single pixels.
digit = dt.Input((8, 8, 1), name="digit")
edges = layers.Conv2D(16, 3, padding="same", activation="relu", name="edges")(digit)
shapes = layers.Conv2D(16, 3, padding="same", activation="relu", name="shapes")(edges)
shapes = layers.BatchNormalization(momentum=0.9, name="shapes_normed")(shapes)
pixels = layers.Conv2D(16, 1, activation="relu", name="pixels")(edges)
both = layers.Concatenate(name="both")([layers.Add(name="residual")([edges, shapes]), pixels])
parts = layers.Conv2D(32, 3, padding="same", activation="relu", name="parts")(layers.MaxPooling2D(name="half")(both))
features = layers.Dropout(0.3, name="dropout")(layers.Flatten(name="flat")(parts))
answer = layers.Dense(10, activation="softmax", name="answer")(layers.Dense(32, activation="relu", name="hidden")(features))
model = dt.Model(digit, answer, name="digits")

model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=arguments.epochs, validation_data=(x_test, y_test))
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"held-out digits: accuracy {accuracy:.4f}, loss {loss:.4f}")


def write_pictures(folder: Path, count: int = 40) -> None:
    """Digits that it was not trained on, as files that the viewer offers."""
    for number, (image, label) in enumerate(zip(x_test[:count], y_test[:count], strict=True)):
        Image.fromarray(np.uint8(255 * image[:, :, 0])).save(folder / f"{label}-{number:02}.png")


def check(folder: Path) -> None:
    """Ask as the page does. An answer begins with the length of its header in JSON; a byte for each value follows."""
    with server.launch(model, classes=range(10), input_folder=folder, port=0, block=False) as viewer:
        with urlopen(f"{viewer.url}api/inputs") as reply:
            first = json.load(reply)["items"][0]
        with urlopen(f"{viewer.url}api/activations?layer=both&input={first['id']}") as reply:
            packed = reply.read()
    print(f"the viewer answered with {len(packed)} bytes of layer 'both' for {first['name']}")


if not arguments.no_view:
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder))
        if arguments.check:
            check(Path(folder))
        else:
            server.launch(model, classes=range(10), input_folder=folder, port=arguments.port)
