"""Losses: what training makes small. `get` finds one by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from disttrain import torch_losses
from disttrain.identifiers import no_such_name, written
from disttrain.losses.argument_order import OutputsFirst, targets_first
from disttrain.losses.base import FunctionLoss, Loss
from disttrain.losses.binary_crossentropy import BinaryCrossentropy, binary_crossentropy
from disttrain.losses.binary_focal_crossentropy import BinaryFocalCrossentropy, binary_focal_crossentropy
from disttrain.losses.categorical_crossentropy import CategoricalCrossentropy, categorical_crossentropy
from disttrain.losses.categorical_focal_crossentropy import CategoricalFocalCrossentropy, categorical_focal_crossentropy
from disttrain.losses.categorical_generalized_cross_entropy import (
    CategoricalGeneralizedCrossEntropy,
    categorical_generalized_cross_entropy,
)
from disttrain.losses.circle import Circle, circle
from disttrain.losses.cosine_similarity import CosineSimilarity, cosine_similarity
from disttrain.losses.ctc import CTC, ctc
from disttrain.losses.divisors import batch_divisor
from disttrain.losses.from_torch import LossOfTorch, SumOfModule
from disttrain.losses.hinge import CategoricalHinge, Hinge, SquaredHinge, categorical_hinge, hinge, squared_hinge
from disttrain.losses.huber import Huber, huber
from disttrain.losses.kl_divergence import KLDivergence, kl_divergence
from disttrain.losses.log_cosh import LogCosh, log_cosh
from disttrain.losses.mean_absolute_error import MeanAbsoluteError, mean_absolute_error
from disttrain.losses.mean_absolute_percentage_error import MeanAbsolutePercentageError, mean_absolute_percentage_error
from disttrain.losses.mean_squared_error import MeanSquaredError, mean_squared_error
from disttrain.losses.mean_squared_logarithmic_error import MeanSquaredLogarithmicError, mean_squared_logarithmic_error
from disttrain.losses.overlap import Dice, Tversky, dice, tversky
from disttrain.losses.poisson import Poisson, poisson
from disttrain.losses.root_mean_squared_error import RootMeanSquaredError, root_mean_squared_error
from disttrain.losses.sparse_categorical_crossentropy import SparseCategoricalCrossentropy, sparse_categorical_crossentropy

_CLASS_OF: dict[Callable[..., Tensor], type[Loss]] = {
    binary_crossentropy: BinaryCrossentropy,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_generalized_cross_entropy: CategoricalGeneralizedCrossEntropy,
    categorical_hinge: CategoricalHinge,
    circle: Circle,
    cosine_similarity: CosineSimilarity,
    ctc: CTC,
    dice: Dice,
    hinge: Hinge,
    huber: Huber,
    kl_divergence: KLDivergence,
    log_cosh: LogCosh,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_error: MeanSquaredError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    poisson: Poisson,
    root_mean_squared_error: RootMeanSquaredError,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    squared_hinge: SquaredHinge,
    tversky: Tversky,
}
bce = BCE = binary_crossentropy
kld = KLD = kullback_leibler_divergence = kl_divergence
logcosh = log_cosh
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
mse = MSE = mean_squared_error
msle = MSLE = mean_squared_logarithmic_error
rmse = RMSE = root_mean_squared_error

CLASSES: dict[str, type[Loss]] = {cls.__name__: cls for cls in sorted(_CLASS_OF.values(), key=lambda cls: cls.__name__)}
BY_NAME: dict[str, type[Loss]] = {
    **{function.__name__: cls for function, cls in _CLASS_OF.items()},
    "bce": BinaryCrossentropy,
    "huber_loss": Huber,
    "kld": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "logcosh": LogCosh,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
    "rmse": RootMeanSquaredError,
}


def get(identifier: Any) -> Loss | None:
    """A loss from a name (`"mse"`, `"MeanSquaredError"`), a config dict, a class, an instance or a function; None stays None.

    A function of this package, such as `losses.mean_squared_error`, becomes its class, which also checks targets; a loss of torch's is
    called as torch means it (see `LossOfTorch`); another function is one of (y_true, y_pred), a `FunctionLoss`.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first. Or a loss of torch's that needs more than
            outputs and targets; a function or module that plainly takes them in another order.
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        config = identifier.get("config", {})
        if isinstance(config, str):  # Keras writes functions as {"class_name": "function", "config": name}
            return _named(config)()
        return _named(identifier["class_name"]).from_config(config or {})
    if inspect.isclass(identifier) and issubclass(identifier, Loss):
        return identifier()
    if (of_torch := torch_losses.find(identifier)) is not None:
        return LossOfTorch(of_torch)
    if inspect.isclass(identifier) and issubclass(identifier, nn.Module):
        return get(identifier())
    if callable(identifier):
        known = _CLASS_OF.get(identifier) if inspect.isfunction(identifier) else None
        if known is not None:
            return known()
        function = targets_first(identifier)
        summed = isinstance(function, OutputsFirst) and function.reduction == "sum"
        return (SumOfModule if summed else FunctionLoss)(function)
    raise ValueError(
        f"loss={identifier!r}: expected a name, a Loss, a function (y_true, y_pred), or a config with 'class_name' and 'config'."
    )


deserialize = get  # Keras's name for making one from its config


def serialize(loss: Any) -> Any:
    """What a config holds for a loss: Keras's config dict, or the object itself where this module does not know it."""
    return written(loss, "keras.losses", CLASSES)


def _named(name: str) -> type[Loss]:
    found = CLASSES.get(name) or BY_NAME.get(name) or BY_NAME.get(name.lower())
    if found is None:
        names = list(BY_NAME)
        nearest = difflib.get_close_matches(name.lower(), names, n=len(names), cutoff=0.0)
        raise ValueError(f"loss={name!r}: no such loss.\n  expected  one of {', '.join(nearest)}, nearest first")
    return found


__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossOfTorch",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "batch_divisor",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "ctc",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "root_mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.losses", name, __all__)
