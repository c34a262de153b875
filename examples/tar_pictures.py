"""Pictures from tar shards: the 1,797 digits that ship inside scikit-learn as PNG files in WebDataset's tar files, shifted at random.

python examples/tar_pictures.py                                 # writes ./digit-shards, and trains in this process
disttrain launch examples/tar_pictures.py --workers 4           # four Ray actors, each of which reads shards of its own
python examples/tar_pictures.py --shards s3://bucket/digits     # shards where every host can read them
"""

import argparse
import io
import tarfile
from typing import Any

import fsspec
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--shards", default="digit-shards", help="a folder, or a URL")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--loaders", type=int, default=0, help="processes beside each worker that decode pictures")
arguments = parser.parse_args()


def write_shards(folder: str) -> None:
    """Eight tar files, the last two of them to be held out; a sample is `00042.png` and `00042.cls`."""
    pictures, labels = load_digits(return_X_y=True)
    for shard in range(8):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for number in range(shard, len(labels), 8):
                picture = io.BytesIO()
                Image.fromarray((pictures[number].reshape(8, 8) * 15.9).astype(np.uint8)).save(picture, "PNG")
                for ending, data in (("png", picture.getvalue()), ("cls", str(labels[number]).encode())):
                    member = tarfile.TarInfo(f"{number:05d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        with fsspec.open(f"{folder}/{'train' if shard < 6 else 'test'}-{shard:04d}.tar", "wb") as file:
            file.write(stream.getvalue())


def scaled(sample: dict[str, Any]) -> Any:
    """Pixels from 0 to 1, and the label."""
    return torch.from_numpy(sample["png"].astype(np.float32) / 255), sample["cls"]


def shifted(sample: dict[str, Any]) -> Any:
    """The same, by up to a pixel to any side: drawn from the sample's own seed, whoever makes it."""
    picture, label = scaled(sample)
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(picture, (down, right), (0, 1)), label


storage, folder = fsspec.core.url_to_fs(arguments.shards)
storage.makedirs(folder, exist_ok=True)
if not storage.glob(f"{folder}/*.tar"):
    write_shards(arguments.shards)

model = dt.Sequential(
    [
        dt.Input((8, 8, 1)),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.BatchNormalization(momentum=0.9),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
train = dt.data.tar(f"{arguments.shards}/train-*.tar", mode="grayscale", transform=shifted, workers=arguments.loaders)
test = dt.data.tar(f"{arguments.shards}/test-*.tar", mode="grayscale", transform=scaled)
model.fit(train, batch_size=32, epochs=arguments.epochs, verbose=2)
loss, accuracy = model.evaluate(test, batch_size=64, verbose=0)
print(f"{len(test)} digits held out: accuracy {accuracy:.4f}, loss {loss:.4f}")
