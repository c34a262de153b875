"""Text: an LSTM learns to predict the next character of real Python source, the standard library's own files on this machine.

python examples/char_lstm.py
disttrain launch examples/char_lstm.py --workers 2
"""

import argparse
import string
import sysconfig
from pathlib import Path

import numpy as np

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--characters", type=int, default=120_000)
arguments = parser.parse_args()

LENGTH = 32  # characters that the network sees before it guesses the next
alphabet = string.printable
number_of = {character: number for number, character in enumerate(alphabet)}

library = Path(sysconfig.get_paths()["stdlib"])
text = "".join((library / name).read_text() for name in ("argparse.py", "ast.py", "calendar.py", "dataclasses.py", "textwrap.py"))
codes = np.array([number_of[c] for c in text if c in number_of][: arguments.characters], dtype=np.int64)
windows = np.lib.stride_tricks.sliding_window_view(codes, LENGTH + 1)[::3]
x, y = windows[:, :-1], windows[:, -1]

model = dt.Sequential(
    [
        dt.Input((LENGTH,), dtype="int64"),
        layers.Embedding(len(alphabet), 32),
        layers.LSTM(96),
        layers.Dropout(0.1),
        layers.Dense(len(alphabet), activation="softmax"),
    ]
)
model.compile(optimizer=dt.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=128, epochs=arguments.epochs, validation_split=0.1)

prompt = "def __init__(self, name):\n       "[-LENGTH:]
written = [number_of[c] for c in prompt.rjust(LENGTH)]
for _ in range(60):
    probabilities = model.predict(np.array([written[-LENGTH:]]), verbose=0)[0]
    written.append(int(probabilities.argmax()))
print("".join(alphabet[code] for code in written))
