"""What the model can be shown: files of the folder, samples of the run, and what the page sends. Named, listed, and made ready."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from disttrain.viewers.array_files import ArrayHeader, read_headers, read_row
from disttrain.viewers.cache import BoundedCache
from disttrain.viewers.folder import ARRAY_ENDINGS, Folder, Found
from disttrain.viewers.input_specs import InputSpec, rows_in
from disttrain.viewers.pictures import ENDINGS, read_image, thumbnail
from disttrain.viewers.preprocessing import Preprocessing
from disttrain.viewers.refusal import Refusal
from disttrain.viewers.samples import Samples

MAX_ROWS_SHOWN = 1000  # of one array file
MAX_SENT = 64  # what the page sent, newest kept
MAX_SENT_BYTES = 64 << 20
MAX_DRAWING_PIXELS = 1024 * 1024
_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class Item:
    """One thing to show the model. `version` changes when its content does."""

    id: str
    name: str
    kind: str
    label: str | None = None
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the page gets it."""
        return {"id": self.id, "name": self.name, "kind": self.kind, "label": self.label}


class Inputs:
    """The list, and each item as the model takes it.

    Args:
        folder: where files are.
        preprocessing: what makes them ready.
        samples: of the run, if it left any.
        classes: names for labels.
    """

    def __init__(self, folder: Folder, preprocessing: Preprocessing, samples: Samples, classes: list[str] | None) -> None:
        self._folder, self._preprocessing, self._samples, self._classes = folder, preprocessing, samples, classes
        self._sent: OrderedDict[str, tuple[Item, dict[str, Any]]] = OrderedDict()
        self._sent_bytes = 0
        self._lock = threading.Lock()
        self._ready = BoundedCache(_CACHE_BYTES)
        self._headers: dict[tuple[str, int], list[ArrayHeader]] = {}

    # -- listing --------------------------------------------------------------------------------------------------------------------

    def page(self, search: str = "", offset: int = 0, limit: int = 100) -> dict[str, Any]:
        """JSON of a part of the list: what was sent, newest first, then samples of the run, then files."""
        items, message = self._items()
        wanted = search.lower().split()
        kept = [item for item in items if all(word in f"{item.name} {item.label or ''}".lower() for word in wanted)] if wanted else items
        if not message and items and not kept:
            message = f"none of {len(items)} inputs has {search!r} in its name"
        shown = [item.to_json() for item in kept[offset : offset + limit]]
        return {
            "folder": self._folder.path,
            "total": len(kept),
            "items": shown,
            "message": message,
            "pictures": self._preprocessing.about_pictures,
        }

    def item(self, item_id: str) -> dict[str, Any]:
        """JSON of one, which a link may name though it is on no page of the list.

        Raises:
            Refusal: there is no such item.
        """
        found = next((item for item in self._items()[0] if item.id == item_id), None)
        if found is None:
            raise _unknown(item_id)
        return found.to_json()

    def _items(self) -> tuple[list[Item], str | None]:
        with self._lock:
            items = [item for item, _ in reversed(self._sent.values())]
        items += [Item(f"sample.{row}", f"sample {row}", "sample", self._label(row)) for row in range(self._samples.count)]
        files, message = self._folder.files()
        for found in files.values():
            items += self._items_of(found)
        if message is None:
            message = self._about_pictures(files) or self._preprocessing.about_text()
        return items, None if message and items and message.startswith(f"{self._folder.path} has no images") else message

    def _about_pictures(self, files: dict[str, Found]) -> str | None:
        if self._preprocessing.function is not None or not any(not found.is_array for found in files.values()):
            return None
        try:
            self._preprocessing.image_spec  # noqa: B018 - asked for its refusal
        except Refusal as refusal:
            return refusal.message
        return None

    def _items_of(self, found: Found) -> list[Item]:
        version = str(found.modified_ns)
        if not found.is_array:
            return [Item(f"file.{found.key}", found.name, "file", None, version)]
        try:
            rows = self._rows(self._headers_of(found))
        except Refusal:
            rows = 0  # listed all the same: choosing it tells what is wrong
        if rows == 0:
            return [Item(f"file.{found.key}", found.name, "array", None, version)]
        return [
            Item(f"file.{found.key}.{row}", f"{found.name} [{row}]", "array", None, version) for row in range(min(rows, MAX_ROWS_SHOWN))
        ]

    def _label(self, row: int) -> str | None:
        number = self._samples.label(row)
        if number is None or self._classes is None or not 0 <= number < len(self._classes):
            return None if number is None else str(number)
        return self._classes[number]

    def truth(self, item_id: str) -> int | None:
        """The class that an item is known to have: that of a sample of the run."""
        kind, _, row = item_id.partition(".")
        number = _number(row) if kind == "sample" else None
        return None if number is None else self._samples.label(number)

    # -- making ready ---------------------------------------------------------------------------------------------------------------

    def version(self, item_id: str) -> tuple[str, str]:
        """A key for what was computed from an item: its id, and its content as far as the folder's listing tells.

        Raises:
            Refusal: there is no such item.
        """
        parts = item_id.split(".")
        if parts[0] == "file" and len(parts) in (2, 3):
            return item_id, str(self._found(parts[1]).modified_ns)
        return item_id, ""

    def arrays(self, item_id: str) -> dict[str, np.ndarray]:
        """By input name, without the batch axis; "input" where the model does not tell.

        Raises:
            Refusal: there is no such item, it cannot be read, or it does not fit the model.
        """
        key = self.version(item_id)
        ready = self._ready.get(key)
        if ready is None:
            ready = self._made(item_id)
            self._ready.put(key, ready, sum(array.nbytes for array in ready.values()))
        return dict(ready)

    def model_inputs(self, item_id: str) -> Any:
        """Tensors with a batch of one, as the model is called: one, or a dict by input name."""
        arrays = self.arrays(item_id)
        specs = {spec.name: spec for spec in self._preprocessing.specs}
        batch = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(np.array(array)[None])
            dtype = getattr(torch, specs[name].dtype, None) if name in specs else None
            batch[name] = tensor.to(dtype) if dtype is not None else tensor.float() if tensor.is_floating_point() else tensor
        if len(batch) == 1:
            return next(iter(batch.values()))
        return batch if set(batch) == set(specs) and self._samples.keyed is not False else list(batch.values())

    def picture(self, item_id: str) -> bytes:
        """A PNG of an item as the model gets it."""
        arrays = self.arrays(item_id)
        name = next(iter(arrays))
        spec = next((spec for spec in self._preprocessing.specs if spec.name == name), None)
        return thumbnail(arrays[name], spec)

    def image_size(self, item_id: str) -> tuple[int, int] | None:
        """(height, width) of an item that is an image for the model."""
        spec = self._preprocessing.specs[0] if len(self._preprocessing.specs) == 1 else None
        if spec is None or spec.kind != "image":
            return None
        shape = self.arrays(item_id)[spec.name].shape
        return (shape[1], shape[2]) if spec.channels_axis == 0 else (shape[0], shape[1])

    def _made(self, item_id: str) -> dict[str, np.ndarray]:
        parts = item_id.split(".")
        if parts[0] == "sample" and len(parts) == 2 and _number(parts[1]) is not None:
            return self._samples.row(int(parts[1]))
        if parts[0] == "file" and len(parts) in (2, 3):
            found = self._found(parts[1])
            with self._folder.open(found) as file:
                if not found.is_array:
                    return self._alone(self._preprocessing.from_picture(read_image(file, found.name)))
                return self._from_arrays(file, found.name, self._headers_of(found), _number(parts[2]) if len(parts) == 3 else None)
        if parts[0] == "sent" and len(parts) == 2:
            with self._lock:
                kept = self._sent.get(item_id)
            if kept is not None:
                return kept[1]
        raise _unknown(item_id)

    def _found(self, key: str) -> Found:
        files, _ = self._folder.files()
        if key not in files:
            raise Refusal(404, "the file is not in the folder any more: choose another one of the list")
        return files[key]

    def _headers_of(self, found: Found) -> list[ArrayHeader]:
        key = (found.key, found.modified_ns)
        if key not in self._headers:
            if len(self._headers) > 10_000:
                self._headers.clear()
            with self._folder.open(found) as file:
                self._headers[key] = read_headers(file, found.name)
        return self._headers[key]

    def _chosen(self, headers: list[ArrayHeader]) -> dict[str, ArrayHeader]:
        """Which array goes into which input: by name, else the only one, else in order."""
        specs = self._preprocessing.specs
        names = {header.member.removesuffix(".npy"): header for header in headers}
        if not specs:
            return {"input": headers[0]} if headers else {}
        if all(spec.name in names for spec in specs):
            return {spec.name: names[spec.name] for spec in specs}
        if len(specs) == 1:
            fitting = [header for header in headers if self._holds(header, specs[0]) is not None]
            first = next((names[name] for name in ("x", "x_test", "arr_0") if names.get(name) in fitting), None)
            chosen = first or next(iter(fitting or headers), None)
            return {} if chosen is None else {specs[0].name: chosen}
        return {spec.name: header for spec, header in zip(specs, headers, strict=False)} if len(headers) >= len(specs) else {}

    def _holds(self, header: ArrayHeader, spec: InputSpec) -> int | None:
        """How many inputs an array holds; 0: it is one itself; None: it does not fit."""
        rows = rows_in(header.shape, spec.inner)
        if rows is None and spec.kind == "image" and header.dtype == np.uint8:
            if len(header.shape) == 4 and header.shape[3] in (1, 3, 4):
                return int(header.shape[0])
            if len(header.shape) == 2 or (len(header.shape) == 3 and header.shape[2] in (1, 3, 4)):
                return 0
            return int(header.shape[0]) if len(header.shape) == 3 else None
        if rows is None and self._preprocessing.function is not None and header.shape:
            return int(header.shape[0])  # preprocess gets a row
        return rows

    def _rows(self, headers: list[ArrayHeader]) -> int:
        specs = {spec.name: spec for spec in self._preprocessing.specs}
        counts = [self._holds(header, specs[name]) if name in specs else header.shape[0] for name, header in self._chosen(headers).items()]
        return min((count for count in counts if count is not None), default=0)

    def _from_arrays(self, file: Any, name: str, headers: list[ArrayHeader], row: int | None) -> dict[str, np.ndarray]:
        specs = {spec.name: spec for spec in self._preprocessing.specs}
        chosen = self._chosen(headers)
        if not chosen:
            raise Refusal(422, f"{name} holds {len(headers)} arrays; the model takes {len(specs)}: {', '.join(specs) or 'one'}")
        if row is not None and row >= self._rows(headers):
            raise Refusal(404, f"{name} has no row {row}")
        made = {}
        for key, header in chosen.items():
            values = read_row(file, name, header, row)
            made[key] = self._preprocessing.from_array(values, specs[key]) if key in specs else values
        return made

    # -- what the page sends --------------------------------------------------------------------------------------------------------

    def send(self, sent: Any) -> dict[str, Any]:
        """Take a drawing, text, numbers or a file, in memory only; the same one again is the same item.

        Raises:
            Refusal: it is none of these, or does not fit the model.
        """
        if not isinstance(sent, dict) or sent.get("kind") not in ("drawing", "text", "numbers", "file"):
            raise Refusal(400, 'expected JSON with "kind": "drawing", "text", "numbers" or "file"')
        digest = hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()[:16]
        name, kind, arrays = getattr(self, f"_take_{sent['kind']}")(sent)
        item = Item(f"sent.{digest}", name, kind)
        nbytes = sum(array.nbytes for array in arrays.values())
        if nbytes > MAX_SENT_BYTES:
            raise Refusal(413, f"{name} takes {nbytes} bytes as an input: expected {MAX_SENT_BYTES} at most")
        with self._lock:
            self._forget(item.id)
            self._sent[item.id] = (item, arrays)
            self._sent_bytes += nbytes
            while len(self._sent) > MAX_SENT or self._sent_bytes > MAX_SENT_BYTES:
                self._forget(next(iter(self._sent)))
        return {"id": item.id, "name": item.name}

    def _forget(self, item_id: str) -> None:
        if item_id in self._sent:
            _, arrays = self._sent.pop(item_id)
            self._sent_bytes -= sum(array.nbytes for array in arrays.values())

    def _take_drawing(self, sent: dict[str, Any]) -> tuple[str, str, dict[str, np.ndarray]]:
        width: Any = sent.get("width")
        height: Any = sent.get("height")
        if not all(type(size) is int and size > 0 for size in (width, height)) or width * height > MAX_DRAWING_PIXELS:
            raise Refusal(400, f"width and height: expected whole numbers, {MAX_DRAWING_PIXELS} pixels at most")
        pixels = np.frombuffer(_decoded(sent, "pixels"), np.uint8)
        if pixels.size != width * height:
            raise Refusal(400, f"pixels: expected {width} x {height} bytes, received {pixels.size}")
        return "drawing", "drawing", self._alone(self._preprocessing.from_drawing(pixels.reshape(height, width)))

    def _take_text(self, sent: dict[str, Any]) -> tuple[str, str, dict[str, np.ndarray]]:
        text = sent.get("text")
        if not isinstance(text, str) or not text.strip() or len(text) > 100_000:
            raise Refusal(400, "text: expected 1 to 100000 characters")
        return _short(text), "text", self._alone(self._preprocessing.from_text(text))

    def _take_numbers(self, sent: dict[str, Any]) -> tuple[str, str, dict[str, np.ndarray]]:
        values = sent.get("values")
        if not isinstance(values, list):
            raise Refusal(400, "values: expected a list of numbers")
        return _short(json.dumps(values)), "array", self._alone(self._preprocessing.from_numbers(values))

    def _take_file(self, sent: dict[str, Any]) -> tuple[str, str, dict[str, np.ndarray]]:
        name = sent.get("name")
        if not isinstance(name, str) or not name.lower().endswith((*ENDINGS, *ARRAY_ENDINGS)):
            raise Refusal(422, f"{str(name)[:80]!r} cannot be shown: expected a file ending in {' '.join((*ENDINGS, *ARRAY_ENDINGS))}")
        name = _short(name.replace("\\", "/").rsplit("/", 1)[-1])
        file = io.BytesIO(_decoded(sent, "data"))
        if not name.lower().endswith(ARRAY_ENDINGS):
            return name, "file", self._alone(self._preprocessing.from_picture(read_image(file, name)))
        headers = read_headers(file, name)
        return name, "array", self._from_arrays(file, name, headers, 0 if self._rows(headers) else None)

    def _alone(self, array: np.ndarray) -> dict[str, np.ndarray]:
        specs = self._preprocessing.specs
        return {specs[0].name if specs else "input": array}


def _unknown(item_id: str) -> Refusal:
    return Refusal(404, f"there is no input {item_id[:80]!r}: choose one of the list, which may have changed")


def _decoded(sent: dict[str, Any], field: str) -> bytes:
    try:
        return base64.b64decode(sent.get(field) or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Refusal(400, f"{field}: expected base64") from None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _short(text: str) -> str:
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= 60 else text[:57] + "..."
