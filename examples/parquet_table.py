"""A table in Parquet: scikit-learn's 569 tumours, 30 numbers each, of which nothing is held in memory but what a step needs.

python examples/parquet_table.py                                # writes ./tumours, and trains in this process
disttrain launch examples/parquet_table.py --workers 2          # two Ray actors, each of which reads row groups of its own

Takes pip install 'disttrain[parquet,demo]'.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from sklearn.datasets import load_breast_cancer

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, default=Path("tumours"))
parser.add_argument("--epochs", type=int, default=15)
arguments = parser.parse_args()

found = load_breast_cancer()
names = [str(name) for name in found.feature_names]
if not arguments.folder.exists():
    arguments.folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(found.target))
    for number, rows in enumerate(np.array_split(order, 5)):
        columns = {name: found.data[rows, place].astype(np.float32) for place, name in enumerate(names)}
        table = arrow.table({**columns, "benign": found.target[rows]})
        parquet.write_table(table, arguments.folder / f"part-{number}.parquet", row_group_size=32)

train = dt.data.parquet([str(arguments.folder / f"part-{number}.parquet") for number in range(4)], names, "benign", stack=True)
test = dt.data.parquet(str(arguments.folder / "part-4.parquet"), names, "benign", stack=True)

model = dt.Sequential(
    [dt.Input((30,)), layers.BatchNormalization(momentum=0.9), layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")]
)
model.compile(optimizer=dt.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(train, batch_size=32, epochs=arguments.epochs, verbose=2)
loss, accuracy = model.evaluate(test, batch_size=64, verbose=0)
print(f"{len(test)} tumours held out: accuracy {accuracy:.4f}, loss {loss:.4f}")
