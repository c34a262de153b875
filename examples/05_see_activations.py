"""See what each layer of a small network makes of a handwritten digit, in a browser, after it has learned or while it learns.

python examples/05_see_activations.py                           # train, then open http://localhost:5000 and click layers

disttrain launch examples/05_see_activations.py --workers 2 --keep 20 -- --no-view
disttrain view runs/05_see_activations                          # in another terminal, while it trains or afterwards: move the slider
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
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--port", type=int, default=5000)
parser.add_argument("--no-view", action="store_true", help="only train")
parser.add_argument("--check", action="store_true", help="look at one layer without a browser, and end")
arguments = parser.parse_args()

digits = load_digits()
x, x_test, y, y_test = train_test_split(digits.images[..., None] / 16.0, digits.target, test_size=0.2, random_state=0)

inputs = dt.Input((8, 8, 1), name="digit")
strokes = layers.Conv2D(32, 3, padding="same", activation="relu", name="strokes")(inputs)
near = layers.Conv2D(32, 3, padding="same", activation="relu", name="near")(strokes)
far = layers.Conv2D(32, 3, padding="same", dilation_rate=2, activation="relu", name="far")(strokes)
both = layers.Add(name="both")([near, far])
shapes = layers.Conv2D(64, 3, activation="relu", name="shapes")(layers.MaxPooling2D(name="half")(both))
hidden = layers.Dense(32, activation="tanh", name="hidden")(layers.Flatten(name="flat")(shapes))
model = dt.Model(inputs, layers.Dense(10, activation="softmax", name="number")(hidden), name="digits")
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=arguments.epochs, validation_split=0.1)
print(f"held-out digits: accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")

if not arguments.no_view:
    with tempfile.TemporaryDirectory() as folder:  # pictures to choose from; any folder of images will do
        for number, (image, label) in enumerate(zip(x_test[:60, :, :, 0], y_test, strict=False)):
            Image.fromarray(np.uint8(image * 255)).save(Path(folder) / f"a {label}, number {number:02}.png")
        viewer = server.launch(model, classes=range(10), input_folder=folder, port=0 if arguments.check else arguments.port, block=False)
        with viewer:
            if arguments.check:
                first = json.load(urlopen(f"{viewer.url}api/inputs"))["items"][0]["id"]
                maps = urlopen(f"{viewer.url}api/activations?layer=strokes&input={first}").read()
                print(f"layer strokes: {len(maps)} bytes")
            else:
                viewer.wait()
