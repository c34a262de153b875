"""Tables of Embedding layers for TensorBoard's projector: a configuration, and the newest table of each as text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from disttrain.layers.core.embedding import Embedding

_MOST_ROWS = 100_000  # the projector samples what is larger


def embedding_layers(model: Any) -> list[Any]:
    """The Embedding layers of a model and of models inside it."""
    found: list[Any] = []
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, Embedding):
            found.append(layer)
        elif getattr(layer, "layers", None):
            found += embedding_layers(layer)
    return found


class Projector:
    """Writes `projector_config.pbtxt` and beside it `<layer>.tsv` and `<layer>.metadata.tsv`; no checkpoint of TensorFlow is needed.

    Args:
        folder: a path or URL, of a run that TensorBoard lists.
        metadata: what stands for each row: for all tables one file or one list of labels, or a dict of those by layer name.
    """

    def __init__(self, folder: str, metadata: Any = None) -> None:
        self.folder, self.metadata = folder, metadata
        self._configured = False

    def check(self, layers: Sequence[Any]) -> None:
        """Raise ValueError if `metadata` names a layer that is none of these."""
        if isinstance(self.metadata, dict):
            unknown = sorted(set(self.metadata) - {layer.name for layer in layers})
            if unknown:
                names = [layer.name for layer in layers]
                raise ValueError(
                    f"TensorBoard(embeddings_metadata): no Embedding layer is called {unknown[0]!r}; expected some of {names}."
                )

    def write(self, layers: Sequence[Any]) -> None:
        """Write the tables as they are now; the first time also the configuration."""
        if not layers:
            return
        for layer in layers:
            table = np.asarray(layer.embeddings.detach().float().cpu())[:_MOST_ROWS]
            lines = ("\t".join(f"{value:.6g}" for value in row) for row in np.nan_to_num(table))
            self._put(f"{_file(layer)}.tsv", "\n".join(lines) + "\n")
        if not self._configured:
            self._configure(layers)
            self._configured = True

    def _configure(self, layers: Sequence[Any]) -> None:
        from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

        config = ProjectorConfig()
        for layer in layers:
            entry = config.embeddings.add(tensor_name=f"{layer.name}/embeddings", tensor_path=f"{_file(layer)}.tsv")
            labels = self._labels(layer)
            if labels is not None:
                entry.metadata_path = f"{_file(layer)}.metadata.tsv"
                self._put(entry.metadata_path, labels)
        self._put("projector_config.pbtxt", str(config))

    def _labels(self, layer: Any) -> str | None:
        given = self.metadata.get(layer.name) if isinstance(self.metadata, dict) else self.metadata
        if given is None:
            return None
        if isinstance(given, str | os.PathLike):  # copied: TensorBoard serves only what lies beside the configuration
            import fsspec  # late: loads when a file is opened

            with fsspec.open(os.fspath(given), "r", encoding="utf-8") as file:
                text: str = file.read()
            return text
        return "".join(str(label).replace("\t", " ").replace("\n", " ") + "\n" for label in given)

    def _put(self, name: str, text: str) -> None:
        import fsspec  # late: loads when a file is opened

        files, path = fsspec.core.url_to_fs(f"{self.folder}/{name}")
        files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        files.pipe_file(path, text.encode())


def _file(layer: Any) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in layer.name)
