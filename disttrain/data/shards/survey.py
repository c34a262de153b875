"""Where the blocks of a source lie: asked of each shard once, and kept beside the machine's other caches, or where the script says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import fsspec

from disttrain.data.shards.blocks import Blocks, Span, spans_of
from disttrain.data.shards.files import Files, again_where_it_fails
from disttrain.errors import DataError

_AT_ONCE = 8
_FORM = 1  # of the file


def survey(files: Files, settings: str, look: Callable[[int], list[Span]], index: str | None, *, keeps: bool) -> Blocks:
    """The blocks of all files.

    Args:
        settings: what the blocks depend on beside the files.
        look: those of one file.
        index: a URL where they are kept; None: a folder of this machine.
        keeps: is looking so dear that it is done once only?
    """
    place = _Kept(files, settings, index) if keeps or index is not None else None
    known = {} if place is None else place.read()
    missing = [number for number in range(len(files)) if number not in known]
    if missing:
        with ThreadPoolExecutor(min(_AT_ONCE, len(missing)), thread_name_prefix="survey") as pool:
            looked = pool.map(lambda number: again_where_it_fails(lambda: look(number), files.urls[number]), missing)
            known.update(zip(missing, looked, strict=True))
        if place is not None:
            place.write(known)
    blocks = Blocks.of([known[number] for number in range(len(files))])
    if not len(blocks):
        raise DataError(f"{files.urls[0]}{' and the others hold' if len(files) > 1 else ' holds'} no samples at all: expected one or more.")
    return blocks


class _Kept:
    """A JSON file of spans by shard; a shard whose size or mark is another one is looked at again."""

    def __init__(self, files: Files, settings: str, index: str | None) -> None:
        self._files, self._settings, self._index = files, settings, index
        named = hashlib.sha256(json.dumps([settings, files.urls]).encode()).hexdigest()[:32]
        self._url = index or os.path.join(_folder(), f"{named}.json")

    def read(self) -> dict[int, list[Span]]:
        """What is kept and still holds."""
        try:
            with fsspec.open(self._url, "rb", **self._options()) as stream:
                kept: Any = json.loads(stream.read())
        except (OSError, ValueError):
            return {}
        if not isinstance(kept, dict) or kept.get("form") != _FORM or kept.get("settings") != self._settings:
            return {}
        shards, found = kept.get("shards"), {}
        for number, url in enumerate(self._files.urls):
            entry = shards.get(url) if isinstance(shards, dict) else None
            if not isinstance(entry, dict) or [entry.get("size"), entry.get("mark")] != self._state(number):
                continue
            spans = spans_of(entry.get("blocks"))
            if spans is not None:
                found[number] = spans
        return found

    def write(self, known: dict[int, list[Span]]) -> None:
        """Keep them; where that cannot be done and was not asked for, they are looked up again another time."""
        shards = {
            self._files.urls[number]: dict(zip(("size", "mark"), self._state(number), strict=True)) | {"blocks": spans}
            for number, spans in known.items()
        }
        data = json.dumps({"form": _FORM, "settings": self._settings, "shards": shards}).encode()
        if self._index is not None:
            with fsspec.open(self._url, "wb", **self._options()) as stream:
                stream.write(data)
            return
        with suppress(OSError):
            os.makedirs(os.path.dirname(self._url), exist_ok=True)
            beside = f"{self._url}.{os.getpid()}"
            with open(beside, "wb") as stream:
                stream.write(data)
            os.replace(beside, self._url)

    def _options(self) -> dict[str, Any]:
        return {} if self._index is None else dict(self._files.options)

    def _state(self, number: int) -> list[Any]:
        return [self._files.sizes[number], self._files.marks[number]]


def _folder() -> str:
    """Where programs of this user keep what they can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "disttrain", "shards")
