"""Files that layers keep beside their weights, such as vocabularies: `assets/<path of the layer>/...` in a `.keras` file.

A layer that has some defines `save_assets(folder)` and `load_assets(folder)`, as in Keras.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from torch import nn

from disttrain.models.saving.archive import read_member
from disttrain.models.saving.h5_paths import module_paths

MAX_ASSET_BYTES = 1 << 30


def asset_members(model: nn.Module) -> list[tuple[str, bytes]]:
    """(member of the archive, its bytes) of everything that layers of `model` keep."""
    found = []
    for path, module in module_paths(model):
        save = getattr(module, "save_assets", None)
        if save is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            save(folder)
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    inner = file.relative_to(folder).as_posix()
                    found.append(("/".join(part for part in ("assets", path, inner) if part), file.read_bytes()))
    return found


def load_assets(model: nn.Module, archive: zipfile.ZipFile, source: str) -> None:
    """Hand each layer of `model` that keeps files those of the archive.

    Raises:
        ValueError: a member whose name leads elsewhere, or that is damaged or too large.
    """
    names = [name for name in archive.namelist() if name.startswith("assets/") and not name.endswith("/")]
    for path, module in module_paths(model):
        load = getattr(module, "load_assets", None)
        if load is None:
            continue
        prefix = "/".join(part for part in ("assets", path) if part) + "/"
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                if name.startswith(prefix):
                    inner = PurePosixPath(name.removeprefix(prefix))
                    if inner.is_absolute() or ".." in inner.parts or "\\" in name:
                        raise ValueError(f"{source}: the member {name!r} leads out of the file.")
                    target = Path(folder, *inner.parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(read_member(archive, name, source, MAX_ASSET_BYTES))
            load(folder)
