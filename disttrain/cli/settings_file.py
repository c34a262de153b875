"""Options of `launch` that stand in a file: `disttrain.toml`, or `[tool.disttrain]` in `pyproject.toml`, where the command runs.

    # disttrain.toml
    workers = 4
    run-dir = "s3://bucket/run"
    checkpoint-every = "5min"
    admission = false
    [storage-options]
    endpoint_url = "http://localhost:9000"

Flags go before the environment (`DISTTRAIN_LAUNCH_WORKERS`), the environment before the file, the file before the defaults.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, get_args, get_type_hints

from disttrain.errors import UsageError

OWN, SHARED = "disttrain.toml", "pyproject.toml"
_TABLE = "storage-options"
_NO_OPTIONS = ("context", "script", "arguments", "return", "print_config", "dry_run")
_NOT_IN_A_FILE = (*_NO_OPTIONS, "restart", "take_over", "step", "timings")  # each is said for one launch


def settings_here(launch: Callable[..., None], folder: str = ".") -> tuple[dict[str, Any], str]:
    """(value by parameter name, the file they stand in), or ({}, "") where no file has any.

    Args:
        launch: the command; its parameters and their types are what may stand in the file.

    Raises:
        UsageError: an unknown name, a value of another kind, a file that is no TOML, or two files that both have options.
    """
    own, shared = _table(Path(folder) / OWN, ()), _table(Path(folder) / SHARED, ("tool", "disttrain"))
    if own is not None and shared is not None:
        raise UsageError(f"{OWN} and [tool.disttrain] of {SHARED} both hold options.\n  expected  one of them")
    table, file = (own, OWN) if own is not None else (shared, f"{SHARED} [tool.disttrain]")
    if table is None:
        return {}, ""
    kinds = {name: _kind(hint) for name, hint in get_type_hints(launch).items() if name not in _NOT_IN_A_FILE}
    return {name: _checked(file, _written(name), value, kinds[name]) for name, value in _names(table, kinds, file).items()}, file


def _kind(hint: Any) -> type:
    """The one type of an option, which may be None too."""
    return next(kind for kind in (bool, int, float, str) if kind is hint or kind in get_args(hint))


def _names(table: dict[str, Any], known: Collection[str], file: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for given, value in table.items():
        name = given.replace("-", "_")
        if name not in known:
            once = name in _NOT_IN_A_FILE
            near = difflib.get_close_matches(name, known, n=1)
            words = f"{given} is said for one launch, on the command line" if once else f"unknown option {given!r}"
            raise UsageError(
                f"{file}: {words}.\n  expected  {_written(near[0]) if near and not once else ', '.join(map(_written, sorted(known)))}"
            )
        if name in found:
            raise UsageError(f"{file}: {_written(name)} stands there twice, with - and with _.\n  expected  one of them")
        found[name] = value
    return found


def _checked(file: str, name: str, value: Any, kind: type) -> Any:
    if name == _TABLE and isinstance(value, dict):
        return json.dumps(value, default=str)  # as on the command line
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: 'text, in ""'}[kind]
        wanted = "a table, [storage-options]" if name == _TABLE else wanted
        raise UsageError(f"{file}: {name} = {value!r}: expected {wanted}.")
    return value


def _table(path: Path, within: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if within and "tool.disttrain" not in text:
            return None  # somebody else's
        raise UsageError(f"{path} is no TOML: {error}") from error
    for name in within:
        table = table.get(name) if isinstance(table, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [{'.'.join(within)}] is no table.\n  expected  options of disttrain launch, such as workers = 2")
    return table


def _written(name: str) -> str:
    """A parameter's name as the command line has it, without the dashes."""
    return name.replace("_", "-")


def sources(context: Any, file: str) -> list[tuple[str, Any, str]]:
    """(option, value, where the value comes from) of a launch that has been parsed."""
    words = {"COMMANDLINE": "flag", "DEFAULT_MAP": file}
    found = []
    for name, value in context.params.items():
        if name in _NO_OPTIONS:
            continue
        source = context.get_parameter_source(name)
        came = "DEFAULT" if source is None else source.name
        where = f"environment {context.auto_envvar_prefix}_{name.upper()}" if came == "ENVIRONMENT" else words.get(came, "default")
        found.append((f"--{_written(name)}", value, where))
    return found


def table_of(option: str, text: str) -> dict[str, Any]:
    """The JSON object that an option or a variable holds. The text is not shown: it may hold secrets.

    Raises:
        UsageError: it is none.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"""{option}: expected a JSON object such as '{{"endpoint_url": "http://localhost:9000"}}'.""")
    return found
