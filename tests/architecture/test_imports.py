"""Who may import whom, as data, and every import of the package held against it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from imports import (
    BELOW,
    Table,
    file_cycle,
    foreign_imports,
    imports_of,
    late_imports_without_reason,
    room_cycle,
    rooms_of,
    table_in,
    upward_imports,
)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "disttrain"

# The floors of the house, top first; "disttrain" is the front door, `disttrain/__init__.py`. ARCHITECTURE.md shows this table.
ROOMS: Table = {
    "testing": BELOW,
    "cli": BELOW,
    "launch": BELOW,
    "clusters": BELOW,
    "viewers": BELOW,
    "controller": BELOW,
    "rundir": BELOW,
    "disttrain": BELOW,
    "models": BELOW,
    "elastic": BELOW,
    "training": BELOW,
    "callbacks": BELOW,
    "pictures": ["data", "layers"],
    "layers": [
        "activations",
        "alignment",
        "arrays",
        "bounds",
        "constraints",
        "errors",
        "host_numbers",
        "identifiers",
        "initializers",
        "mappings",
        "mixed_precision",
        "philox",
        "regularizers",
        "running_sums",
        "seeds",
        "text",
        "variables",
        "watch",
    ],
    "losses": ["bounds", "errors", "host_numbers", "identifiers", "seeds", "torch_losses"],
    "metrics": ["bounds", "errors", "host_numbers", "identifiers", "running_sums", "seeds", "torch_losses", "variables"],
    "optimizers": ["alignment", "errors", "host_numbers", "identifiers", "seeds", "variables", "watch"],
    "data": ["alignment", "clock", "errors", "mappings", "seeds", "text"],
    "collectives": ["beside", "clock", "errors", "seeds"],
    "checkpoint": ["clock", "errors"],
    "devices": ["errors"],
    "simulation": ["errors", "orchestrator", "quantities"],
    "orchestrator": ["clock", "errors"],
    "activations": ["arrays", "errors", "identifiers", "running_sums", "seeds"],
    "variables": ["alignment", "host_numbers", "initializers", "mixed_precision", "watch"],
    "initializers": ["errors", "identifiers", "mixed_precision", "seeds"],
    "regularizers": ["arrays", "errors", "identifiers", "seeds"],
    "constraints": ["arrays", "errors", "identifiers", "seeds"],
    "arrays": ["host_numbers", "mixed_precision"],
    "mixed_precision": ["errors", "identifiers"],
    "quantities": ["errors"],
    "determinism": ["errors"],
    "torch_losses": ["bounds", "errors"],
    "bounds": ["errors"],
    "text": ["errors"],
    "awaited": ["clock"],
    "overheard": [],
    "beside": ["errors"],
    "alignment": [],
    "identifiers": ["elsewhere"],
    "elsewhere": [],
    "mappings": [],
    "errors": ["redaction"],
    "parsing": [],
    "redaction": [],
    "telemetry": [],
    "tracebacks": [],
    "clock": [],
    "watch": [],
    "seeds": [],
    "philox": [],
    "running_sums": [],
    "host_numbers": [],
}

# Ray is imported in one folder only, so that everything else can be read, tested and used without it.
TENSORS = ["numpy", "torch"]
THIRD_PARTY = {
    "testing": [*TENSORS, "fsspec", "psutil"],
    "cli": ["rich", "typer"],
    "launch": [*TENSORS, "cloudpickle", "fsspec", "psutil", "rich", "safetensors"],
    "clusters": [*TENSORS, "cloudpickle", "psutil"],
    "clusters/ray": [*TENSORS, "cloudpickle", "psutil", "ray"],
    "viewers": [*TENSORS, "PIL", "fsspec", "tensorboard", "werkzeug"],
    "controller": TENSORS,
    "rundir": [*TENSORS, "psutil", "safetensors"],
    "disttrain": [],
    "models": [*TENSORS, "PIL", "fsspec", "h5py", "onnx", "onnxscript", "rich", "safetensors"],
    "elastic": [*TENSORS, "cloudpickle", "psutil"],
    "training": TENSORS,
    "callbacks": [*TENSORS, "PIL", "fsspec", "tensorboard"],
    "pictures": [*TENSORS, "PIL"],
    "layers": TENSORS,
    "losses": TENSORS,
    "metrics": TENSORS,
    "optimizers": TENSORS,
    "data": [*TENSORS, "PIL", "fsspec", "pyarrow"],
    "collectives": TENSORS,
    "checkpoint": ["botocore", "fsspec", "numpy", "safetensors", "xxhash"],
    "devices": [],
    "simulation": [],
    "orchestrator": [],
    "activations": TENSORS,
    "variables": TENSORS,
    "initializers": TENSORS,
    "regularizers": TENSORS,
    "constraints": TENSORS,
    "arrays": TENSORS,
    "mixed_precision": TENSORS,
    "quantities": [],
    "determinism": ["torch"],
    "torch_losses": TENSORS,
    "bounds": TENSORS,
    "text": TENSORS,
    "awaited": [],
    "overheard": [],
    "beside": [],
    "alignment": TENSORS,
    "identifiers": [],
    "elsewhere": [],
    "mappings": [],
    "errors": [],
    "parsing": [],
    "redaction": [],
    "telemetry": ["numpy"],
    "tracebacks": [],
    "clock": [],
    "watch": [],
    "seeds": TENSORS,
    "philox": TENSORS,
    "running_sums": TENSORS,
    "host_numbers": TENSORS,
}

# Slow to import, or not installed everywhere: never at the top of a module that `import disttrain` reads.
LAZY = ["tensorboard", "torch.utils.tensorboard", "torch.profiler", "h5py", "onnx", "onnxscript", "PIL", "pyarrow", "werkzeug"]
NOT_WITH_THE_PACKAGE = {
    "ray",
    "typer",
    "h5py",
    "tensorboard",
    "onnx",
    "onnxscript",
    "PIL",
    "werkzeug",
    "s3fs",
    "gcsfs",
    "adlfs",
    "sklearn",
    "pyarrow",
}


def test_every_room_imports_only_what_stands_below_it():
    found = upward_imports(PACKAGE, ROOMS)
    assert not found, "\n" + "\n".join(found)


def test_every_room_uses_only_the_libraries_of_its_trade():
    found = foreign_imports(PACKAGE, THIRD_PARTY, LAZY)
    assert not found, "\n" + "\n".join(found)


def test_ray_is_imported_in_one_folder_only():
    files = {item.file.relative_to(PACKAGE).parts[:2] for item in imports_of(PACKAGE) if item.module.split(".")[0] == "ray"}
    assert files <= {("clusters", "ray")}


def test_no_rooms_import_one_another_in_a_ring():
    assert " -> ".join(room_cycle(PACKAGE)) == ""


def test_no_files_import_one_another_in_a_ring():
    assert " -> ".join(file_cycle(PACKAGE)) == ""


def test_every_import_inside_a_function_says_why_it_waits():
    found = late_imports_without_reason(PACKAGE, LAZY)
    assert not found, "\n" + "\n".join(found)


def test_the_table_itself_points_downwards_and_knows_each_room_once():
    floors = list(ROOMS)
    assert [room for room in THIRD_PARTY if "/" not in room] == floors
    for room, line in ROOMS.items():
        if line != BELOW:
            assert all(floors.index(target) > floors.index(room) for target in line), room


def test_importing_the_package_brings_no_ray_no_cli_and_no_optional_library():
    script = "import sys, disttrain; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & NOT_WITH_THE_PACKAGE == set()


def test_no_file_is_a_drawer_for_things_without_a_place():
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [str(path) for path in PACKAGE.rglob("*") if path.stem in drawers and path.suffix in ("", ".py")] == []


def test_the_architecture_page_shows_this_table():
    shown = table_in((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert list(shown.items()) == list(ROOMS.items())


# Rooms whose time is handed to them, so that a test can hold the hands. The helper processes of a Ray run beside everything else.
TAKES_THE_TIME = ["orchestrator", "controller", "collectives", "elastic", "clusters"]
OWN_PROCESSES = {"lease_server.py", "sweeper.py"}


def test_no_room_that_is_handed_a_clock_asks_the_machine_for_the_time():
    found = [
        str(item.file.relative_to(PACKAGE))
        for item in imports_of(PACKAGE)
        if item.module.split(".")[0] == "time"
        and item.file.relative_to(PACKAGE).parts[0] in TAKES_THE_TIME
        and item.file.name not in OWN_PROCESSES
    ]
    assert not found


# The checker itself, on a small package that breaks each rule once.


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    package = tmp_path / "disttrain"
    files = {
        "errors.py": "import json\n",
        "seeds.py": "from disttrain import training\n",
        "layers/x.py": "import torch\n\ndef f():\n    from ..training import step\n",
        "training/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray.actor\n",
        "training/step.py": "import importlib\nimport disttrain.layers.x\nimportlib.import_module('disttrain.extra')\n",
        "training/board.py": "from torch.utils import tensorboard\n\ndef f():\n    from torch.utils import tensorboard\n",
        "extra/y.py": "",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


SMALL: Table = {"training": BELOW, "layers": ["errors", "seeds"], "errors": [], "seeds": []}


def test_a_forbidden_import_is_named_with_its_line_and_what_the_room_may_import(broken: Path):
    assert upward_imports(broken, SMALL) == [
        "disttrain/extra has no line in the import table",
        "disttrain/layers/x.py:4 imports disttrain.training: layers may import errors, seeds",
        "disttrain/seeds.py:1 imports disttrain.training: seeds may import no other room",
        "disttrain/training/step.py:3 imports disttrain.extra: training may import everything below",
    ]


def test_a_forbidden_library_is_found_under_type_checking_and_a_late_one_at_the_top(broken: Path):
    assert foreign_imports(broken, {"training": ["torch"], "layers": []}, lazy=["torch.utils.tensorboard"]) == [
        "disttrain/layers/x.py:1 imports torch: layers may import the standard library only",
        "disttrain/training/__init__.py:3 imports ray: training may import torch",
        "disttrain/training/board.py:1 imports torch.utils.tensorboard at the top: import it inside the function that needs it",
    ]


def test_a_longer_folder_has_rules_of_its_own(broken: Path):
    (broken / "training" / "ray").mkdir()
    (broken / "training" / "ray" / "actors.py").write_text("import ray\n")
    found = foreign_imports(broken, {"training": ["torch"], "training/ray": ["ray"], "layers": ["torch"]})
    assert found == ["disttrain/training/__init__.py:3 imports ray: training may import torch"]


def test_a_ring_of_rooms_is_spelled_out(broken: Path):
    assert room_cycle(broken) == ["layers", "training", "layers"]


def test_a_ring_of_files_is_found_through_late_imports_type_checking_and_names_of_packages(tmp_path: Path):
    package = tmp_path / "disttrain"
    files = {
        "__init__.py": "",
        "layers/__init__.py": "from disttrain.layers.base import Layer\n",
        "layers/base.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from disttrain.layers.graph import Node\n",
        "layers/graph.py": "import disttrain.layers.table\n",
        "layers/table.py": "def fill():\n    from . import Layer\n",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    base, graph, table, door = (f"disttrain/layers/{name}.py" for name in ("base", "graph", "table", "__init__"))
    assert file_cycle(package) == [door, base, graph, table, door]
    (package / "layers/table.py").write_text("")
    assert file_cycle(package) == []


def test_a_late_import_needs_a_reason_beside_or_above_it_and_those_on_lines_without_a_gap_share_one(tmp_path: Path):
    package = tmp_path / "disttrain"
    package.mkdir()
    (package / "late.py").write_text(
        "import os\n"
        "def f():\n"
        "    import json  # late: seldom\n"
        "    import csv\n"
        "\n"
        "    import ast\n"
        "    # late: optional\n"
        "    import h5py\n"
        "    print(h5py)  # late, but no import\n"
        "    import PIL.Image\n"
        "    import ray\n"
    )
    assert late_imports_without_reason(package, lazy=["PIL"]) == [
        f"disttrain/late.py:{line} imports {module} late: say why in a comment `# late: ...`, or move it up"
        for line, module in ((6, "ast"), (11, "ray"))
    ]


def test_the_rooms_are_the_folders_and_files_that_hold_code(broken: Path):
    (broken / "empty").mkdir()
    assert rooms_of(broken) == {"errors", "seeds", "layers", "training", "extra"}


def test_a_table_is_read_from_the_page_in_its_order():
    page = "# A\n```imports\nb: everything below\na: c, d\nc:\n```\n```imports\nx: y\n```\n"
    assert list(table_in(page).items()) == [("b", BELOW), ("a", ["c", "d"]), ("c", [])]
