"""Reads every import of a package from its source and holds it against a table of who may import whom."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BELOW = "everything below"
Table = Mapping[str, Sequence[str] | str]  # room -> rooms it may import, or BELOW; in the order of the floors, top first


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module. `module` is absolute; `top_level` is False inside a function, where the import waits for its first use.

    `reason` is why such a late import waits: what a comment `# late: ...` says on its line, among the imports right beside it, or above.
    """

    file: Path
    line: int
    module: str
    top_level: bool
    reason: str = ""


def imports_of(package: Path) -> list[Import]:
    """Every import in `package/**/*.py`: in functions and under TYPE_CHECKING too, and `import_module("...")` with a literal name."""
    return [found for file in sorted(package.rglob("*.py")) for found in _imports_in(file, package, file.read_text(encoding="utf-8"))]


def rooms_of(package: Path) -> set[str]:
    """The top-level modules and the folders of `package` that hold code; its `__init__.py` counts under the name of the package."""
    return {room_of(file, package) for file in package.rglob("*.py")}


def room_of(file: Path, package: Path) -> str:
    """The room that a file belongs to. `__main__.py` belongs to the command line."""
    first = file.relative_to(package).parts[0]
    if first == "__main__.py":
        return "cli"
    return package.name if first == "__init__.py" else first.removesuffix(".py")


def target_room(module: str, package: Path) -> str | None:
    """The room that an absolute module name lies in, or None outside the package."""
    parts = module.split(".")
    if parts[0] != package.name:
        return None
    if len(parts) > 1 and ((package / parts[1]).is_dir() or (package / f"{parts[1]}.py").is_file()):
        return parts[1]
    return package.name  # a name that its __init__.py offers


def allowed_rooms(room: str, table: Table) -> set[str]:
    """What `room` may import: itself, and what its line says."""
    line = table[room]
    if line == BELOW:
        names = list(table)
        return set(names[names.index(room) :])
    return {room, *line}


def upward_imports(package: Path, table: Table) -> list[str]:
    """One line for each import that the table forbids, and for each room that it does not know."""
    found = [f"{package.name}/{room} has no line in the import table" for room in sorted(rooms_of(package) - set(table))]
    for item in imports_of(package):
        room, target = room_of(item.file, package), target_room(item.module, package)
        if room not in table or target is None or target in allowed_rooms(room, table):
            continue
        line = table[room]
        rule = line if isinstance(line, str) else ", ".join(sorted(line)) or "no other room"
        name = package.name if target == package.name else f"{package.name}.{target}"
        found.append(f"{where(item, package)} imports {name}: {room} may import {rule}")
    return found


def foreign_imports(package: Path, table: Mapping[str, Sequence[str]], lazy: Sequence[str] = ()) -> list[str]:
    """One line for each third-party import that the table forbids, or that is in `lazy` and stands at the top of a module.

    Keys are rooms, or folders below them such as `clusters/ray`; the longest key that matches counts.
    """
    found = []
    for item in imports_of(package):
        name = item.module.split(".")[0]
        if name == package.name or name in sys.stdlib_module_names:
            continue
        folder = _longest_key(item.file.relative_to(package), room_of(item.file, package), table)
        if folder is None:
            continue  # upward_imports reports a room without a line
        if name not in table[folder]:
            rule = ", ".join(table[folder]) or "the standard library only"
            found.append(f"{where(item, package)} imports {name}: {folder} may import {rule}")
        elif item.top_level and any(item.module == late or item.module.startswith(late + ".") for late in lazy):
            found.append(f"{where(item, package)} imports {item.module} at the top: import it inside the function that needs it")
    return found


def room_cycle(package: Path) -> list[str]:
    """Rooms that import one another in a ring, first one repeated at the end; empty when there is none."""
    edges: dict[str, set[str]] = {}
    for item in imports_of(package):
        room, target = room_of(item.file, package), target_room(item.module, package)
        if target is not None and target != room:
            edges.setdefault(room, set()).add(target)
    return _ring(edges)


def file_cycle(package: Path) -> list[str]:
    """Files that import one another in a ring, late and under TYPE_CHECKING too, first one repeated at the end; empty when there is none.

    That a module's packages are loaded before it is no import here.
    """
    edges: dict[str, set[str]] = {}
    for item in imports_of(package):
        target = target_file(item.module, package)
        if target is not None and target != item.file:
            edges.setdefault(_shown(item.file, package), set()).add(_shown(target, package))
    return _ring(edges)


def target_file(module: str, package: Path) -> Path | None:
    """The file that an absolute module name, or a name in it, lies in; None outside the package."""
    parts = module.split(".")
    if parts[0] != package.name:
        return None
    for length in range(len(parts), 0, -1):
        place = package.parent.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def late_imports_without_reason(package: Path, lazy: Sequence[str] = ()) -> list[str]:
    """One line for each import inside a function that does not say why it waits; modules in `lazy` wait by rule."""
    found = []
    for item in imports_of(package):
        by_rule = any(item.module == late or item.module.startswith(late + ".") for late in lazy)
        if not item.top_level and not item.reason and not by_rule:
            found.append(f"{where(item, package)} imports {item.module} late: say why in a comment `# late: ...`, or move it up")
    return found


def _ring(edges: Mapping[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def walk(place: str, path: list[str]) -> list[str]:
        if place in path:
            return [*path[path.index(place) :], place]
        if place in done:
            return []
        for target in sorted(edges.get(place, ())):
            if ring := walk(target, [*path, place]):
                return ring
        done.add(place)
        return []

    return next((ring for place in sorted(edges) if (ring := walk(place, []))), [])


def table_in(text: str) -> dict[str, Sequence[str] | str]:
    """The table of a Markdown page: the lines `room: allowed, allowed` of its first block fenced as ```imports."""
    block = text.split("```imports\n", 1)[1].split("```", 1)[0]
    table: dict[str, Sequence[str] | str] = {}
    for line in block.splitlines():
        if line.strip():
            room, _, rest = line.partition(":")
            table[room.strip()] = BELOW if rest.strip() == BELOW else [name.strip() for name in rest.split(",") if name.strip()]
    return table


def where(item: Import, package: Path) -> str:
    return f"{_shown(item.file, package)}:{item.line}"


def _longest_key(file: Path, room: str, table: Mapping[str, Sequence[str]]) -> str | None:
    folders = [folder.as_posix() for folder in file.parents if folder.as_posix() in table]
    return max(folders, key=len) if folders else room if room in table else None


@functools.cache  # each rule reads the whole package
def _imports_in(file: Path, package: Path, text: str) -> list[Import]:
    found = []
    tree, reasons = ast.parse(text, filename=str(file)), _reasons(text.splitlines())
    inside = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        for module in _modules(node, file, package):
            line, top_level = getattr(node, "lineno", 0), id(node) not in inside
            found.append(Import(file, line, module, top_level, "" if top_level else reasons.get(line, "")))
    return found


def _reasons(lines: Sequence[str]) -> dict[int, str]:
    """{number of a line: the reason that holds for an import there}; imports on lines without a gap share one."""
    found: dict[int, str] = {}
    run: list[int] = []  # lines of imports that follow one another
    reason = ""
    for number, line in enumerate(lines, start=1):
        said = line.partition("# late:")[2].strip()
        if line.strip().startswith(("import ", "from ")) or "import_module(" in line:
            run.append(number)
            reason = reason or said
            found.update(dict.fromkeys(run, reason))
        else:
            run, reason = [], said if line.strip().startswith("#") else ""
    return found


def _shown(file: Path, package: Path) -> str:
    return file.relative_to(package.parent).as_posix()


def _modules(node: ast.AST, file: Path, package: Path) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = _absolute(module, level, file, package)
            # `from disttrain import errors` names a room, and `from torch.utils import tensorboard` a module, in the second half.
            return [f"{base}.{alias.name}" for alias in names if alias.name != "*"] or [base]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(name)), *_]
        ):
            return [name]
    return []


def _absolute(module: str | None, level: int, file: Path, package: Path) -> str:
    if level == 0:
        return module or ""
    home = [package.name, *file.relative_to(package).parts[:-1]]
    return ".".join(home[: len(home) - level + 1] + ([module] if module else []))
