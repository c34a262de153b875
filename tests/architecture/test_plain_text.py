"""Nothing that is printed is read as markup: what people name stands in it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "disttrain"


def consoles_with_markup(package: Path) -> list[str]:
    """Where a Console of rich is made that reads `[...]` or `:...:` in text."""
    found = []
    for file in sorted(package.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "rich.console" not in text:
            continue
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "Console":
                off = {item.arg for item in call.keywords if isinstance(item.value, ast.Constant) and item.value.value is False}
                if not {"markup", "emoji"} <= off:
                    found.append(f"{file.relative_to(package.parent).as_posix()}:{call.lineno}")
    return found


def test_every_console_prints_text_as_it_is():
    assert consoles_with_markup(PACKAGE) == []


def test_one_that_reads_markup_is_named(tmp_path: Path):
    (tmp_path / "disttrain").mkdir()
    (tmp_path / "disttrain" / "bad.py").write_text("from rich.console import Console\nConsole()\nConsole(markup=False, emoji=False)\n")
    assert consoles_with_markup(tmp_path / "disttrain") == ["disttrain/bad.py:2"]
