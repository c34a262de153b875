"""Optimizers: how gradients change weights. `get` finds one by name."""

from __future__ import annotations

from typing import Any

from disttrain.identifiers import no_such_name
from disttrain.optimizers import schedules
from disttrain.optimizers.adadelta import Adadelta
from disttrain.optimizers.adafactor import Adafactor
from disttrain.optimizers.adagrad import Adagrad
from disttrain.optimizers.adam import Adam
from disttrain.optimizers.adamax import Adamax
from disttrain.optimizers.adamw import AdamW
from disttrain.optimizers.base import Optimizer
from disttrain.optimizers.ftrl import Ftrl
from disttrain.optimizers.lamb import Lamb
from disttrain.optimizers.lion import Lion
from disttrain.optimizers.loss_scale_optimizer import LossScaleOptimizer
from disttrain.optimizers.multi_optimizer import MultiOptimizer, OptimizerMap
from disttrain.optimizers.muon import Muon
from disttrain.optimizers.nadam import Nadam
from disttrain.optimizers.registry import BY_NAME, deserialize, get, serialize
from disttrain.optimizers.rmsprop import RMSprop
from disttrain.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from disttrain.optimizers.sgd import SGD
from disttrain.optimizers.torch_optimizer import TorchOptimizer

BY_NAME["lossscaleoptimizer"] = LossScaleOptimizer  # they look up there what they wrap, so they join last
CLASSES: dict[str, type[Optimizer]] = {cls.__name__: cls for cls in BY_NAME.values()}
BY_NAME["multioptimizer"] = MultiOptimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "TorchOptimizer",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.optimizers", name, __all__)
