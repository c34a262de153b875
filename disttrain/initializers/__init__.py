"""First values of weights, with the names, arguments and defaults of Keras 3.

Values are drawn on the CPU from a key, so they are the same whatever device the weight then moves to. An *instance* gives the same values
at every call, as in Keras: two layers that share one start out equal. A name makes a new instance each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.identifiers import made_from, no_such_name, written
from disttrain.initializers.constant import Constant, Identity, Ones, Zeros
from disttrain.initializers.distributions import RandomNormal, RandomUniform, TruncatedNormal
from disttrain.initializers.initializer import Initializer, RandomInitializer, asked
from disttrain.initializers.orthogonal import Orthogonal
from disttrain.initializers.stft import STFT
from disttrain.initializers.variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    compute_fans,
)

CLASSES: dict[str, type[Initializer]] = {
    "Constant": Constant,
    "GlorotNormal": GlorotNormal,
    "GlorotUniform": GlorotUniform,
    "HeNormal": HeNormal,
    "HeUniform": HeUniform,
    "Identity": Identity,
    "LecunNormal": LecunNormal,
    "LecunUniform": LecunUniform,
    "Ones": Ones,
    "Orthogonal": Orthogonal,
    "RandomNormal": RandomNormal,
    "RandomUniform": RandomUniform,
    "STFT": STFT,
    "TruncatedNormal": TruncatedNormal,
    "VarianceScaling": VarianceScaling,
    "Zeros": Zeros,
}
constant, identity, ones, stft, zeros = Constant, Identity, Ones, STFT, Zeros
glorot_normal, he_normal, lecun_normal = GlorotNormal, HeNormal, LecunNormal
glorot_uniform, he_uniform, lecun_uniform = GlorotUniform, HeUniform, LecunUniform
orthogonal, variance_scaling = Orthogonal, VarianceScaling
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
IdentityInitializer, OrthogonalInitializer, STFTInitializer = Identity, Orthogonal, STFT  # names in older files

BY_NAME: dict[str, type[Initializer]] = {
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
    "STFTInitializer": STFT,
    "constant": Constant,
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "one": Ones,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "stft": STFT,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zero": Zeros,
    "zeros": Zeros,
}


def get(identifier: Any) -> Callable[..., Tensor] | None:
    """An initializer from a name, a config dict, a class, an instance, a function `(shape, dtype)` or an array; None stays None.

    Raises:
        ValueError: nothing is known by that name; the valid ones are listed, nearest first.
    """
    if isinstance(identifier, np.ndarray | np.generic | Tensor):
        return Constant(identifier)
    found: Callable[..., Tensor] | None = made_from(
        identifier, "initializer", CLASSES, BY_NAME, "a name such as 'glorot_uniform', an Initializer, or a function (shape, dtype)"
    )
    return found


deserialize = get  # Keras's name for making one from its config


def serialize(initializer: Any) -> Any:
    """What a config holds for an initializer: Keras's config dict, or the object itself where this module does not know it."""
    return written(initializer, "keras.initializers", CLASSES)


__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "asked",
    "compute_fans",
    "deserialize",
    "get",
    "serialize",
]


def __getattr__(name: str) -> Any:
    raise no_such_name("disttrain.initializers", name, __all__)
