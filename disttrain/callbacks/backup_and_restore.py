"""Go on where a fit in one process was interrupted."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from typing import Any

import numpy as np

from disttrain.callbacks.arguments import every
from disttrain.callbacks.base import Callback, Logs
from disttrain.errors import CheckpointError
from disttrain.parsing import parsed_object

_WEIGHTS, _METADATA, _ARRAYS = "latest.weights.h5", "training_metadata.json", "callbacks.npz"
_DIGESTS = {_WEIGHTS: "weights_sha256", _ARRAYS: "callbacks_sha256"}  # in the metadata, of each file that belongs to it
_NEXT = {_WEIGHTS: "next.weights.h5", _ARRAYS: "next.callbacks.npz"}


class BackupAndRestore(Callback):
    """Keeps the weights, the optimizer's state, what other callbacks have counted, and the place in the training in `backup_dir`; the next
    fit begins there.

    A launch does all this by itself, for every callback too: there, this one warns and does nothing.

    Args:
        backup_dir: a path or URL of a folder for this training alone.
        save_freq: "epoch", or a number of batches, counted across epochs.
        double_checkpoint: keep the backup before the newest too (`.bkp`), for when the newest cannot be read.
        delete_checkpoint: remove the backup when the training is done.

    The folder has Keras's files, and either library reads the other's: `latest.weights.h5`, and `training_metadata.json` with `epoch`
    and `batch`. Beside those the metadata has `batches_done` of that epoch, and `weights_sha256`, which tells which file of weights
    they belong to: the weights are written beside the old ones first, then the metadata, then the weights take their place, so an
    interruption at any moment leaves a pair that fits. The states of the other callbacks, such as the best value so far, stand in the
    metadata too (`callbacks`); arrays that they keep, such as the best weights, lie in `callbacks.npz` and take their place likewise.

    Raises:
        ValueError: `backup_dir` is empty, or `save_freq` is neither "epoch" nor a number of batches.
        CheckpointError: at the beginning of a fit, when there is a backup and it is damaged.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(backup_dir, str | os.PathLike) or not os.fspath(backup_dir):
            raise ValueError(
                f"BackupAndRestore(backup_dir={backup_dir!r}): Empty `backup_dir` argument passed, expected a path or URL of a folder."
            )
        self.backup_dir = os.fspath(backup_dir).rstrip("/") or "/"
        self.save_freq = every(self, "save_freq", save_freq)
        self.double_checkpoint, self.delete_checkpoint = bool(double_checkpoint), bool(delete_checkpoint)
        self.batch_hooks = "sampled" if self.save_freq == "epoch" else "every"
        self._epoch, self._batches_done = 0, 0  # where the training stands
        self._batches_since_saving = 0
        self._launched = False
        self._beside: Any = None  # the list with the other callbacks
        self._due = False
        self._states: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None  # of the others, yet to be given back
        self._given = 0
        self._untold: set[str] = set()

    def set_callbacks(self, callbacks: Any) -> None:
        self._beside = callbacks

    def after_hooks(self) -> None:
        """Only now every other callback has seen the epoch or the batch; or has been set back by the hooks that begin a training."""
        if self._states is not None:
            self._beside.load_state_dict(self._states[0])
            self._beside.load_state_arrays(self._states[1])
            self._given += 1
            if self._given == 2:  # after on_train_begin, and after the hooks that open the epoch
                self._states = None
        if self._due:
            self._due = False
            self._save()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._launched = self.telemetry is not None and self.telemetry.run_dir is not None
        if self._launched:
            warnings.warn("BackupAndRestore does nothing in a launch, which keeps checkpoints of its own.", stacklevel=2)
            return
        self._epoch, self._batches_done, self._batches_since_saving = 0, 0, 0
        self._due, self._states, self._given = False, None, 0
        try:
            found = self._load("")
        except Exception as error:
            try:
                found = self._load(".bkp")
            except Exception:
                found = None
            if found is None:
                raise CheckpointError(
                    f"BackupAndRestore: the backup in {self.backup_dir} cannot be restored: {error}\n"
                    f"  try       remove {self.backup_dir} and begin afresh; double_checkpoint=True keeps the backup before it too"
                ) from error
        if found is not None:
            self._restored(found)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch != self._epoch:
            self._epoch, self._batches_done = epoch, 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self._batches_since_saving += max(1, batch + 1 - self._batches_done)
        self._batches_done = batch + 1
        if self._batches_since_saving >= int(self.save_freq):
            self._batches_since_saving = 0
            self._save_soon()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch, self._batches_done = epoch + 1, 0
        if self.save_freq == "epoch":
            self._save_soon()

    def _save_soon(self) -> None:
        if self._beside is None:
            self._save()
        else:
            self._due = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint and not self._launched:
            self._remove()

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batches_done": self._batches_done, "batches_since_saving": self._batches_since_saving}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epoch, self._batches_done = state["epoch"], state["batches_done"]
        self._batches_since_saving = state["batches_since_saving"]

    # -- files ----------------------------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self.backup_dir}/{name}"

    def _save(self) -> None:
        if self._launched:
            return
        files, folder = _at(self.backup_dir)
        files.makedirs(folder, exist_ok=True)
        self.model.save_weights(self._path(_NEXT[_WEIGHTS]), overwrite=True)
        states, arrays = self._states_beside()
        if arrays:
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # type: ignore[arg-type]  # names of arrays have a slash
            files.pipe_file(f"{folder}/{_NEXT[_ARRAYS]}", buffer.getvalue())
        there = [_WEIGHTS, *([_ARRAYS] if arrays else [])]
        metadata = {
            "epoch": self._epoch,
            "batch": max(0, self._batches_done - 1),  # as Keras counts it: the last one seen, from 0, and 0 before any
            "batches_done": self._batches_done,
            **{_DIGESTS[name]: _digest(files, f"{folder}/{_NEXT[name]}") for name in there},
            **({"callbacks": states} if states else {}),
        }
        if self.double_checkpoint and files.exists(f"{folder}/{_WEIGHTS}") and files.exists(f"{folder}/{_METADATA}"):
            for name in (_WEIGHTS, _ARRAYS, _METADATA):
                if files.exists(f"{folder}/{name}"):
                    files.copy(f"{folder}/{name}", f"{folder}/{name}.bkp.next")
                    files.mv(f"{folder}/{name}.bkp.next", f"{folder}/{name}.bkp")
        files.pipe_file(f"{folder}/{_METADATA}.next", json.dumps(metadata).encode())
        files.mv(f"{folder}/{_METADATA}.next", f"{folder}/{_METADATA}")
        for name in there:
            files.mv(f"{folder}/{_NEXT[name]}", f"{folder}/{name}")

    def _states_beside(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the other callbacks must keep: in JSON types, and arrays."""
        if self._beside is None:
            return {}, {}
        own = type(self).__name__
        states = {key: state for key, state in self._beside.state_dict().items() if key.partition("_")[0] != own}
        for key in list(states):
            try:
                states[key] = json.loads(json.dumps(states[key]))
            except (TypeError, ValueError):
                del states[key]
                if key not in self._untold:
                    self._untold.add(key)
                    warnings.warn(f"BackupAndRestore: the state_dict() of {key} is no JSON, and is not kept.", stacklevel=2)
        return states, self._beside.state_arrays()

    def _load(self, ending: str) -> dict[str, Any] | None:
        """Load the files with that ending: what its metadata say, None if there is none. Raises anything if it is damaged."""
        files, folder = _at(self.backup_dir)
        metadata_path, weights = f"{folder}/{_METADATA}{ending}", f"{folder}/{_WEIGHTS}{ending}"
        if not files.exists(metadata_path):
            if files.exists(weights):
                raise ValueError(f"{weights} is there, {metadata_path} is not")
            return None
        metadata = parsed_object(files.cat_file(metadata_path))
        if not isinstance(metadata.get("epoch"), int):
            raise ValueError(f"{metadata_path} has no epoch")
        for file, field in _DIGESTS.items():
            digest, path, new = metadata.get(field), f"{folder}/{file}{ending}", f"{folder}/{_NEXT[file]}"
            if digest is None:
                continue
            if not ending and _digest(files, new) == digest:  # interrupted before they took their place
                files.mv(new, path)
            if _digest(files, path) != digest:
                what = "weights" if file == _WEIGHTS else "arrays of callbacks"
                raise ValueError(f"{path} does not hold the {what} that {metadata_path} tells of")
        name = self._path(_WEIGHTS)
        if ending:  # a file is read by the ending of its name
            name = self._path("restored.weights.h5")
            files.copy(weights, _at(name)[1])
        self.model.load_weights(name)
        states, arrays = metadata.get("callbacks"), {}
        if metadata.get(_DIGESTS[_ARRAYS]) is not None:
            with np.load(io.BytesIO(files.cat_file(f"{folder}/{_ARRAYS}{ending}")), allow_pickle=False) as found:
                arrays = {key: found[key] for key in found.files}
        if self._beside is not None and isinstance(states, dict):
            self._states = states, arrays
        return metadata

    def _restored(self, metadata: dict[str, Any]) -> None:
        epoch, done = metadata["epoch"], int(metadata.get("batches_done", 0))
        steps = self.params.get("steps")
        if steps is not None and done >= steps:  # interrupted between the last batch and the end of the epoch
            epoch, done = epoch + 1, 0
        self._epoch, self._batches_done = epoch, done
        self.model._initial_epoch, self.model._initial_batch = epoch, done

    def _remove(self) -> None:
        """The files that are ours, and the folder if that leaves it empty."""
        files, folder = _at(self.backup_dir)
        names = [f"{name}{ending}" for name in (_WEIGHTS, _ARRAYS, _METADATA) for ending in ("", ".bkp", ".next", ".bkp.next")]
        for name in (*names, *_NEXT.values(), "restored.weights.h5"):
            if files.exists(f"{folder}/{name}"):
                files.rm_file(f"{folder}/{name}")
        if files.exists(folder) and not files.ls(folder, detail=False):
            files.rmdir(folder)


def _at(url: str) -> tuple[Any, str]:
    import fsspec  # late: loads when a file is opened

    files, path = fsspec.core.url_to_fs(url)
    return files, path


def _digest(files: Any, path: str) -> str | None:
    """The SHA-256 of a file, None if it is not there."""
    if not files.exists(path):
        return None
    digest = hashlib.sha256()
    with files.open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
