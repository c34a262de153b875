"""Go on where a fit in one process was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from typing import Any

from disttrain.callbacks.arguments import every
from disttrain.callbacks.base import Callback, Logs
from disttrain.errors import CheckpointError
from disttrain.parsing import parsed_object

_WEIGHTS, _METADATA = "latest.weights.h5", "training_metadata.json"


class BackupAndRestore(Callback):
    """Keeps the weights, the optimizer's state and the place in the training in `backup_dir`; the next fit begins there.

    A launch does all this by itself, for every callback too: there, this one warns and does nothing.

    Args:
        backup_dir: a path or URL of a folder for this training alone.
        save_freq: "epoch", or a number of batches, counted across epochs.
        double_checkpoint: keep the backup before the newest too (`.bkp`), for when the newest cannot be read.
        delete_checkpoint: remove the backup when the training is done.

    The folder has Keras's files, and either library reads the other's: `latest.weights.h5`, and `training_metadata.json` with `epoch`
    and `batch`. Beside those the metadata has `batches_done` of that epoch, and `weights_sha256`, which tells which file of weights
    they belong to: the weights are written beside the old ones first, then the metadata, then the weights take their place, so an
    interruption at any moment leaves a pair that fits.

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

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._launched = self.telemetry is not None and self.telemetry.run_dir is not None
        if self._launched:
            warnings.warn("BackupAndRestore does nothing in a launch, which keeps checkpoints of its own.", stacklevel=2)
            return
        self._epoch, self._batches_done, self._batches_since_saving = 0, 0, 0
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
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch, self._batches_done = epoch + 1, 0
        if self.save_freq == "epoch":
            self._save()

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
        new = f"{folder}/next.weights.h5"
        self.model.save_weights(self._path("next.weights.h5"), overwrite=True)
        metadata = {
            "epoch": self._epoch,
            "batch": max(0, self._batches_done - 1),  # as Keras counts it: the last one seen, from 0, and 0 before any
            "batches_done": self._batches_done,
            "weights_sha256": _digest(files, new),
        }
        if self.double_checkpoint and files.exists(f"{folder}/{_WEIGHTS}") and files.exists(f"{folder}/{_METADATA}"):
            for name in (_WEIGHTS, _METADATA):
                files.copy(f"{folder}/{name}", f"{folder}/{name}.bkp.next")
                files.mv(f"{folder}/{name}.bkp.next", f"{folder}/{name}.bkp")
        files.pipe_file(f"{folder}/{_METADATA}.next", json.dumps(metadata).encode())
        files.mv(f"{folder}/{_METADATA}.next", f"{folder}/{_METADATA}")
        files.mv(new, f"{folder}/{_WEIGHTS}")

    def _load(self, ending: str) -> dict[str, Any] | None:
        """Load the pair of files with that ending: what its metadata say, None if there is none. Raises anything if it is damaged."""
        files, folder = _at(self.backup_dir)
        metadata_path, weights = f"{folder}/{_METADATA}{ending}", f"{folder}/{_WEIGHTS}{ending}"
        if not files.exists(metadata_path):
            if files.exists(weights):
                raise ValueError(f"{weights} is there, {metadata_path} is not")
            return None
        metadata = parsed_object(files.cat_file(metadata_path))
        if not isinstance(metadata.get("epoch"), int):
            raise ValueError(f"{metadata_path} has no epoch")
        digest, new = metadata.get("weights_sha256"), f"{folder}/next.weights.h5"
        if digest is not None and not ending and _digest(files, new) == digest:  # interrupted before they took their place
            files.mv(new, weights)
        if digest is not None and _digest(files, weights) != digest:
            raise ValueError(f"{weights} does not hold the weights that {metadata_path} tells of")
        name = self._path(_WEIGHTS)
        if ending:  # a file is read by the ending of its name
            name = self._path("restored.weights.h5")
            files.copy(weights, _at(name)[1])
        self.model.load_weights(name)
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
        names = [f"{name}{ending}" for name in (_WEIGHTS, _METADATA) for ending in ("", ".bkp", ".next", ".bkp.next")]
        for name in (*names, "next.weights.h5", "restored.weights.h5"):
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
