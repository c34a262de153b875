"""What the site has beside the pages in this folder: documents that lie elsewhere in the repository, and the reference."""

from __future__ import annotations

import importlib
import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "architecture.md": "ARCHITECTURE.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "format.md": "disttrain/checkpoint/FORMAT.md",
    "k8s.md": "k8s/README.md",
    "security.md": "SECURITY.md",
}
MODEL = ("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch", "summary", "save", "export")
PAGES = {  # page: (title, rooms whose __all__ it shows)
    "api/layers.md": ("Layers", ("disttrain.layers",)),
    "api/losses.md": ("Losses", ("disttrain.losses",)),
    "api/metrics.md": ("Metrics", ("disttrain.metrics",)),
    "api/optimizers.md": ("Optimizers and schedules", ("disttrain.optimizers", "disttrain.optimizers.schedules")),
    "api/callbacks.md": ("Callbacks", ("disttrain.callbacks",)),
    "api/functions.md": (
        "Activations, initializers, regularizers, constraints",
        ("disttrain.activations", "disttrain.initializers", "disttrain.regularizers", "disttrain.constraints"),
    ),
    "api/errors.md": ("Errors", ("disttrain.errors",)),
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def moved(page: str, source: str, text: str) -> str:
    """The text of the repository's `source` as `page` of the site: links to what the site has lead there, others are words."""
    pages = {source: page for page, source in ELSEWHERE.items()}

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match[1], posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2])), match[3] or ""
        if target in pages:
            return f"[{words}]({pages[target]}{anchor})"
        if target.startswith("docs/") and target.endswith(".md"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor})"
        return words if words.startswith("`") else f"{words} (`{target}`)" if words != target else f"`{target}`"

    return _LINK.sub(link, text)


def public(room: str) -> list[tuple[str, str]]:
    """(name, where it is defined) of each class and function that a room offers."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = []
    for name in sorted(names):
        thing = getattr(module, name)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("disttrain."):
            found.append((name, f"{thing.__module__}.{thing.__qualname__}"))
    return found


def entries(title: str, rooms: tuple[str, ...]) -> str:
    """A page of the reference; an alias is shown as what it is."""
    seen, parts = set(), [f"# {title}\n"]
    for room in rooms:
        if len(rooms) > 1:
            parts.append(f"## `{room}`\n")
        for _, path in public(room):
            if path not in seen:
                seen.add(path)
                parts.append(f"::: {path}\n")
    return "\n".join(parts)


def reference() -> Iterator[tuple[str, str]]:
    """(page, text) of each."""
    yield "api/index.md", "\n".join([
        "# Reference\n",
        "From the docstrings, whose examples are run by the tests. Names, order and defaults of arguments are Keras's.\n",
        "- [Models and runs](models.md)",
        *(f"- [{title}]({page.removeprefix('api/')})" for page, (title, _) in PAGES.items()),
    ])  # fmt: skip
    for page, (title, rooms) in PAGES.items():
        yield page, entries(title, rooms)
    top = importlib.import_module("disttrain")
    named = ("Sequential", "Input", "load_model", "clone_model", "plot_model", "transfer_weights", "distribute", "RunConfig")
    named += ("set_virtual_workers", "set_random_seed", "set_device", "set_determinism")
    parts = ["# Models and runs\n", "::: disttrain.models.model.Model\n    options:\n      inherited_members: true\n      members:"]
    parts += [f"      - {name}" for name in MODEL]
    parts.append("")
    for name in named:
        thing: Any = getattr(top, name)
        parts.append(f"::: {thing.__module__}.{thing.__qualname__}\n")
    yield "api/models.md", "\n".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with the pages of this folder."""
    from mkdocs.structure.files import File  # late: mkdocs alone calls this

    sys.path.insert(0, str(ROOT))
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=moved(page, source, (ROOT / source).read_text(encoding="utf-8"))))
    for page, content in reference():
        files.append(File.generated(config, page, content=content))
    return files
