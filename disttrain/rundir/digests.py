"""The digest of whatever holds weights: a run, one of its checkpoints, a saved model."""

from __future__ import annotations

from disttrain.checkpoint import Store, checkpoint_digest
from disttrain.checkpoint.address import split_address
from disttrain.errors import UsageError


def digest_of(path: str) -> str:
    """sha256 over the weights at `path`: a run directory (its newest checkpoint), one of its checkpoints (`RUN/NAME`), or a model file.

    Raises:
        UsageError: nothing there holds weights.
        CheckpointError: what is there is damaged.
    """
    trimmed = path.rstrip("/")
    if trimmed.endswith((".keras", ".h5", ".safetensors")):
        from disttrain.models.saving import file_digest  # late: a run directory needs no models

        return file_digest(trimmed)
    root, name = split_address(trimmed)
    if name is not None:
        return checkpoint_digest(Store(root), name)
    store = Store(trimmed)
    if not store.list("attempts"):
        raise UsageError(
            f"{path} holds no weights.\n"
            "  expected  a run directory, one of its checkpoints (RUN/step-...), a .keras, .weights.h5 or .safetensors file"
        )
    return checkpoint_digest(store)
