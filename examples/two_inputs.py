"""Two inputs, one encoder: are two handwritten digits the same number? A functional model whose encoder is called twice.

python examples/two_inputs.py
disttrain launch examples/two_inputs.py --workers 2
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--pairs", type=int, default=6_000)
arguments = parser.parse_args()


def pairs_of(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`count` pairs, half of them of one number."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, len(images), count)
    right = rng.integers(0, len(images), count)
    for pair in range(0, count, 2):
        right[pair] = rng.choice(np.flatnonzero(labels == labels[left[pair]]))
    same = (labels[left] == labels[right]).astype("float32")
    return {"left": images[left], "right": images[right]}, same


images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
seen, unseen, seen_labels, unseen_labels = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)

encoder = dt.Sequential(
    [
        dt.Input((8, 8, 1)),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(32),
    ],
    name="encoder",
)
left, right = dt.Input((8, 8, 1), name="left"), dt.Input((8, 8, 1), name="right")
difference = layers.Subtract()([encoder(left), encoder(right)])
distance = layers.Multiply()([difference, difference])
output = layers.Dense(1, activation="sigmoid")(layers.Dense(32, activation="relu")(distance))
model = dt.Model(inputs={"left": left, "right": right}, outputs=output)
model.summary()

model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy", "auc"])
x, y = pairs_of(seen, seen_labels, arguments.pairs, seed=1)
x_test, y_test = pairs_of(unseen, unseen_labels, 2_000, seed=2)
model.fit(x, y, batch_size=64, epochs=arguments.epochs, validation_data=(x_test, y_test))
result = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
print(f"pairs of unseen digits: accuracy {result['accuracy']:.3f}, auc {result['auc']:.3f}")
