"""Fine-tuning a plain `torch.nn.Module` with `fit`: a network that has learnt the digits 0 to 4 learns 5 to 9 from few examples.

python examples/fine_tune.py
disttrain launch examples/fine_tune.py --workers 2
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
arguments = parser.parse_args()

images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 1, 8, 8) / 16.0).astype("float32")  # torch's axes: channels first

# A backbone in plain PyTorch, as it might come from a hub.
backbone = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(),
)  # fmt: skip

low = labels < 5
before = dt.Sequential([dt.Input((1, 8, 8)), backbone, layers.Dense(5, activation="softmax")])
before.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
before.fit(images[low], labels[low], batch_size=32, epochs=arguments.epochs, verbose=2)

# The same module under a new head, frozen at first: only the head's weights move, and its batch normalization stays as it is.
few, rest, few_labels, rest_labels = train_test_split(images[~low], labels[~low] - 5, train_size=100, random_state=0, stratify=labels[~low])
frozen = layers.TorchModule(backbone, name="backbone")
frozen.trainable = False
model = dt.Sequential([dt.Input((1, 8, 8)), frozen, layers.Dropout(0.2), layers.Dense(5, activation="softmax")])
model.summary()
model.compile(optimizer=dt.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
kept = [weight.detach().clone() for weight in frozen.weights]
model.fit(few, few_labels, batch_size=20, epochs=2 * arguments.epochs, verbose=2)
assert all(np.array_equal(old, new.detach()) for old, new in zip(kept, frozen.weights, strict=True)), "a frozen weight has moved"

# Then all of it, slowly.
frozen.trainable = True
model.compile(optimizer=dt.optimizers.Adam(2e-4), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(few, few_labels, batch_size=20, epochs=arguments.epochs, verbose=2)

result = model.evaluate(rest, rest_labels, verbose=0, return_dict=True)
print(f"digits 5 to 9 from 100 examples: accuracy {result['accuracy']:.3f} on {len(rest)} others")
