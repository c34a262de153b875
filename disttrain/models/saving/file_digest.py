"""The digest of the weights that a file holds, without its model wherever the file names them."""

from __future__ import annotations

import os
from typing import Any

from disttrain.errors import UsageError
from disttrain.models.digest import weights_digest
from disttrain.models.saving.archive import read_member, sound_archive
from disttrain.models.saving.files import read_bytes
from disttrain.models.saving.h5 import check_h5, keyed_weights
from disttrain.models.saving.keras_file import load_keras_file
from disttrain.models.saving.legacy_h5 import is_legacy
from disttrain.models.saving.weights import read_safetensors


def file_digest(path: Any) -> str:
    """`model.digest()` of the model whose weights a `.keras`, `.weights.h5` or `.safetensors` file holds.

    Raises:
        UsageError: a `.weights.h5` file of Keras, which does not name its weights.
        ValueError: a damaged file.
    """
    name, data = os.fspath(path), read_bytes(path)
    if name.endswith(".safetensors"):
        return weights_digest(read_safetensors(data, name).items())
    if not name.endswith(".keras"):
        if is_legacy(data, name):  # by layers and numbers, without names: the model has those
            return str(load_keras_file(path, compile=False).digest())
        check_h5(data, name)
        named = keyed_weights(data, name)
        if named is None:
            raise UsageError(
                f"{path} was written by Keras, which does not name weights.\n  try  load_weights into its model, then model.digest()"
            )
        return weights_digest(named.items())
    with sound_archive(data, name) as archive:
        named = keyed_weights(read_member(archive, "model.weights.h5", name), name)
    if named is None:
        return str(load_keras_file(path, compile=False).digest())
    return weights_digest(named.items())
