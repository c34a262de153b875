"""Pictures as files of their own: each is a block."""

from __future__ import annotations

import posixpath
from typing import Any

from disttrain.data.pixels import PICTURES, pixels_of
from disttrain.data.shards.blocks import Span
from disttrain.data.shards.files import Files
from disttrain.errors import DataError

ENDINGS = tuple(f".{ending}" for ending in PICTURES)


class FolderFormat:
    """Pictures, whose labels are those of the folders that they are in.

    Args:
        class_names: folders by label; None: there are no labels.
    """

    name, columnar, keeps = "image", False, False

    def __init__(self, mode: str, size: tuple[int, int] | None, class_names: list[str] | None) -> None:
        self.mode, self.size, self.class_names = mode, size, class_names
        self._labels = {} if class_names is None else {name: number for number, name in enumerate(class_names)}

    @property
    def settings(self) -> str:
        return "images"

    def look(self, files: Files, number: int) -> list[Span]:
        return [(0, files.sizes[number], 1, files.sizes[number])]

    def load(self, files: Files, number: int, begin: int, end: int) -> list[tuple[str, bytes]]:
        return [(files.urls[number], files.bytes_of(number, begin, end))]

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        url, data = row
        try:
            found: dict[str, Any] = {"image": pixels_of(data, self.mode, self.size)}
        except Exception as error:
            raise DataError(f"{url} cannot be read as a picture: {type(error).__name__}: {error}") from error
        if self.class_names is not None:
            found["label"] = self._labels[folder_of(url)]
        return found


def folder_of(url: str) -> str:
    """The name of the folder that a file is in."""
    return posixpath.basename(posixpath.dirname(url))
