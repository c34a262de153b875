"""`disttrain export`: what a run has trained, as one file, without its script."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from disttrain.cli.missing import looking_at
from disttrain.errors import UsageError


def export(
    run: Annotated[str, typer.Argument(help="A run directory, any fsspec URL, or one of its checkpoints: RUN/step-...")],
    format: Annotated[
        str | None,
        typer.Option(help="keras, onnx, safetensors or torch (a state_dict; to a .pt2 a program).", show_default="by FILE's ending"),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="A path or any fsspec URL.", show_default="RUN's name, here")
    ] = None,
    step: Annotated[int | None, typer.Option(help="The checkpoint of this step, not the newest; disttrain status shows them.")] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Has classes or functions of the model: a module, or a .py file. May be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the model that RUN has trained to one file: for Keras, PyTorch, ONNX, or its weights alone.

    Example: disttrain export runs/train --format safetensors -o model.safetensors
    """
    from disttrain.models.saving.run_export import export_run  # late: each command loads what it needs

    known: dict[str, Any] = {}
    for module in imports or []:
        known.update(_things_of(module))
    try:
        with looking_at(run):
            done = export_run(run, format, output, step=step, custom_objects=known, overwrite=overwrite)
    except UsageError as error:
        if "cannot be made without its script" not in str(error):
            raise
        raise UsageError(f"{error}\n  or        disttrain export --import MODULE, with the module that has it") from error
    for reason in done.skipped:
        print(f"warning: passed over, {reason.splitlines()[0]}", file=sys.stderr)
    if as_json:
        print(json.dumps(asdict(done), indent=1))
    else:
        print(f"{done.file}: {done.weights} weights of {done.run}, checkpoint {done.checkpoint}\nsha256 {done.digest}")


def _things_of(name: str) -> dict[str, Any]:
    """The classes and functions that a module defines, by name; what it registers is known by having imported it."""
    try:
        module = _of_file(name) if name.endswith(".py") else _by_name(name)
    except ImportError as error:
        raise UsageError(f"--import {name}: {error}\n  expected  a module that can be imported from here, or a .py file") from error
    return {
        key: value
        for key, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    }


def _by_name(name: str) -> Any:
    sys.path.insert(0, os.getcwd())  # as `python` has it; a command that was installed has not
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(os.getcwd())


def _of_file(path: str) -> Any:
    name = os.path.basename(path).removesuffix(".py")
    name = f"imported_{name}" if name in sys.modules else name  # one that is there must stay what it is
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise ImportError("there is no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))  # what lies beside it
    spec.loader.exec_module(module)
    return module
