"""Batches as torch's loaders give them (encodings, named tuples, packed sequences), and modules as torch's people write them."""

from __future__ import annotations

from collections import UserDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from slice_runs import Task
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_sequence
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

import disttrain as dt
from disttrain import layers

WORDS, CLASSES, SAMPLES, BATCH = 9, 3, 11, 7
Pair = namedtuple("Pair", "a b")


class Encoding(UserDict):
    """As the tokenizers of the hub give it: a mapping with attributes, that is no dict."""

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name not in self.data:
            raise AttributeError(name)
        return self.data[name]


def sentences() -> list[tuple[Tensor, int]]:
    """Words of different lengths, and a class."""
    random = np.random.default_rng(2)
    return [(torch.from_numpy(random.integers(1, WORDS, random.integers(2, 6))), n % CLASSES) for n in range(SAMPLES)]


def points() -> list[tuple[Tensor, int]]:
    """Four numbers, and a class."""
    random = np.random.default_rng(2)
    return [(torch.from_numpy(random.normal(size=4).astype("float32")), n % CLASSES) for n in range(SAMPLES)]


def labels_of(samples: list[tuple[Tensor, int]]) -> Tensor:
    return torch.tensor([label for _, label in samples])


def packed(samples: list[tuple[Tensor, int]]) -> Any:
    return pack_sequence([words for words, _ in samples], enforce_sorted=False), labels_of(samples)


def encoded(samples: list[tuple[Tensor, int]]) -> Encoding:
    words = pad_sequence([words for words, _ in samples], batch_first=True)
    return Encoding({"words": words, "mask": (words > 0).float(), "labels": labels_of(samples)})


def paired(samples: list[tuple[Tensor, int]]) -> Any:
    x = torch.stack([point for point, _ in samples])
    return Pair(x[:, :2], {"rest": x[:, 2:]}), labels_of(samples)


class Recurrent(dt.Model):
    """Takes a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rnn, self.head = nn.Embedding(WORDS, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, CLASSES)

    def call(self, inputs: PackedSequence) -> Tensor:
        _, last = self.rnn(inputs._replace(data=self.words(inputs.data)))
        return self.head(last[-1])


class Tagger(nn.Module):
    """Takes its arguments by name, and gives a dict with the loss, as the models of the hub do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(WORDS, 4), nn.Linear(4, CLASSES)
        self.drop = layers.Dropout(0.3)  # torch's draws from the generator of the process, which workers that are threads would share

    def forward(self, words: Tensor, mask: Tensor | None = None, labels: Tensor | None = None) -> dict[str, Any]:
        embedded = self.drop(self.embed(words))
        mask = torch.ones_like(words).float() if mask is None else mask
        logits = self.head((embedded * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return {"logits": logits, "cache": object(), **({} if loss is None else {"loss": loss})}


class Attributes(dt.Model):
    """Reads an encoding by attributes, in a step of its own, with two optimizers and a schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Tagger()
        self.opts = [torch.optim.AdamW(self.net.embed.parameters(), lr=0.02), torch.optim.SGD(self.net.head.parameters(), lr=0.05)]
        self.schedules = [lr_scheduler.LambdaLR(opt, lambda step: 1 / (1 + step)) for opt in self.opts]

    def call(self, batch: Encoding) -> Tensor:
        return self.net(batch.words, batch["mask"])["logits"]

    def train_step(self, batch: Encoding) -> dict[str, Any]:
        loss = self.net(**batch)["loss"]
        for opt in self.opts:
            opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.3)
        nn.utils.clip_grad_value_(self.net.parameters(), 0.1)
        for opt, schedule in zip(self.opts, self.schedules, strict=True):
            opt.step()
            schedule.step()
        return {"loss": loss, "words": batch.mask.sum()}

    def test_step(self, batch: Encoding) -> dict[str, Any]:
        return {"loss": self.net(**batch)["loss"]}


class Forward(dt.Model):
    """Defines `forward` with several arguments, and a class above that it asks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(2, CLASSES), layers.Dropout(0.3), nn.Linear(2, CLASSES)

    def forward(self, a: Tensor, b: dict[str, Tensor]) -> Tensor:
        return self.drop(self.a(a)) + self.b(b["rest"])


class Doubled(Forward):
    """`super().forward` is the function of the class above."""

    def forward(self, a: Tensor, b: dict[str, Tensor]) -> Tensor:
        return 2 * super().forward(a, b)


def _net(wrap: Callable[[nn.Module], nn.Module]) -> Any:
    net = nn.Sequential(wrap(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, CLASSES))
    model = dt.Sequential([dt.Input((4,)), net])
    opt = torch.optim.Adam(net.parameters(), lr=0.02)
    warmup = lr_scheduler.LambdaLR(opt, lambda step: min(1.0, (step + 1) / 3))
    model.compile(dt.optimizers.TorchOptimizer(opt, scheduler=warmup), nn.CrossEntropyLoss())
    return model


def _compiled(model: Any, loss: Any) -> Any:
    model.compile(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), loss)
    return model


def _by_module() -> Any:
    net = Tagger()
    model = dt.Sequential([net])
    model.compile(torch.optim.AdamW(net.parameters(), lr=0.02))
    return model


def _own_step() -> Any:
    model = Attributes()
    model.compile()
    return model


CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any], Any]] = {
    "a packed sequence": (lambda: _compiled(Recurrent(), nn.CrossEntropyLoss()), sentences, packed),
    "a module's arguments and loss in an encoding": (_by_module, sentences, encoded),
    "an encoding's attributes in a step": (_own_step, sentences, encoded),
    "named tuples, forward with arguments": (lambda: _compiled(Doubled(), nn.CrossEntropyLoss()), points, paired),
    "a schedule in compile": (lambda: _net(lambda layer: layer), points, None),
    "weight norm": (lambda: _net(parametrizations.weight_norm), points, None),
    "spectral norm": (lambda: _net(parametrizations.spectral_norm), points, None),
}


def batch_task(name: str) -> Task:
    """A model trained by a loader over samples of uneven lengths, in batches that do not divide evenly."""
    dt.clear_session()
    dt.set_random_seed(5)
    torch.manual_seed(4)
    make, samples, collate = CASES[name]
    return Task(make(), DataLoader(samples(), BATCH, collate_fn=collate), batch_size=BATCH)
