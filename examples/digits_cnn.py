"""Handwritten digits: a small convolutional network on the 1,797 real 8x8 images that ship inside scikit-learn. Nothing is downloaded.

python examples/digits_cnn.py                                   # this process
disttrain launch examples/digits_cnn.py --workers 4             # four Ray actors, the same bits for 4 virtual workers
disttrain launch examples/digits_cnn.py --workers 4 -- --epochs 30
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--save", default=None, help="write the trained model to this .keras file")
arguments = parser.parse_args()

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1) / 16.0
x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)

model = dt.Sequential(
    [
        dt.Input((8, 8, 1)),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.BatchNormalization(momentum=0.9),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(
    x,
    y,
    batch_size=32,
    epochs=arguments.epochs,
    validation_split=0.1,
    callbacks=[dt.callbacks.EarlyStopping(patience=6, restore_best_weights=True)],
)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"held-out digits: accuracy {accuracy:.4f}, loss {loss:.4f}")
if arguments.save:
    model.save(arguments.save)
