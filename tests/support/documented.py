"""The blocks of the documentation: pages, and what is in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_FENCE = re.compile(
    r'^(?P<fence>```+)(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?(?P<mark> setup)?\n(?P<text>.*?)^(?P=fence)$', re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A piece of a page.

    Args:
        kind: `python`, `bash`, `toml`, `text`, `mermaid`.
        title: the file that it is, if it is one.
    """

    kind: str
    title: str | None
    text: str


def pages() -> list[Path]:
    """Each page in `docs/`, by its path."""
    return sorted(DOCS.rglob("*.md"))


def name_of(page: Path) -> str:
    """Its path within `docs/`."""
    return page.relative_to(DOCS).as_posix()


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = [Block(match["kind"], match["title"], match["text"]) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    assert 2 * len(found) == len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)), (
        f"{name_of(page)}: a block without a kind"
    )
    return found
