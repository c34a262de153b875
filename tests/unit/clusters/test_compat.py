"""What we rely on in Ray without a promise of it: each thing by name, so that a new version says at once what it breaks."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def compat():
    from disttrain.clusters.ray import compat

    return compat


def test_ray_still_starts_with_a_folder_and_settings_of_our_own():
    import ray

    named = inspect.signature(ray.init).parameters
    source = inspect.getsource(inspect.unwrap(ray.init))
    for name in ("include_dashboard", "log_to_driver", "configure_logging", "logging_level", "namespace"):
        assert name in named, f"ray.init has no {name} any more: see disttrain/clusters/ray/compat.py"
    for name in ("_temp_dir", "_system_config"):
        assert f'"{name}"' in source, f"ray.init has no {name} any more: see disttrain/clusters/ray/compat.py"


def test_ray_still_knows_each_setting(compat):
    from ray._private.ray_constants import __file__ as constants

    core = Path(constants).parents[1]
    known = b"".join(path.read_bytes() for path in (core / "core/src/ray/raylet/raylet", core / "core/src/ray/gcs/gcs_server"))
    for name in ["preload_python_modules", *compat.SYSTEM_CONFIG]:
        assert name.encode() in known, f"Ray has no setting {name} any more: see disttrain/clusters/ray/compat.py"


def test_the_driver_of_ray_still_prints_what_raylets_say_with_one_function():
    from ray._private import worker

    assert "print_to_stdstream" in vars(worker), "who prints the raylets' words now? see compat.hush"
    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages), "who prints the raylets' words now? see compat.hush"


def test_ray_still_says_where_a_process_keeps_its_logs(compat):
    from ray._private import worker
    from ray._private.node import Node

    assert hasattr(worker, "_global_node") and callable(Node.get_logs_dir_path), "see compat.logs_folder"
    assert compat.logs_folder() is None or Path(compat.logs_folder()).is_dir()


def test_what_ray_changes_in_a_process_still_has_these_names():
    from ray._private import utils, worker

    for module, name in (
        (worker, "faulthandler"),
        (utils, "set_sigterm_handler"),
        (worker, "custom_excepthook"),
        (worker, "normal_excepthook"),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more: see disttrain/clusters/ray/manners.py"
    assert '"PYTHONBREAKPOINT"] = "ray.' in inspect.getsource(worker.connect), "who sets PYTHONBREAKPOINT now? see manners.around_init"
    assert "ray.init()" in inspect.getsource(inspect.getmodule(ray_auto_init())), "how does Ray start by itself now? see meeting.one_ray"


def ray_auto_init():
    from ray._private.auto_init_hook import auto_init_ray

    return auto_init_ray


def test_ray_still_waits_for_the_port_of_its_gcs_in_a_file_of_that_name(tmp_path):
    from ray._private import node

    with pytest.raises(RuntimeError, match=f"{tmp_path}/{node.GCS_SERVER_PORT_NAME}_abab"):
        node.wait_for_persisted_port(str(tmp_path), "ab" * 28, node.GCS_SERVER_PORT_NAME, timeout_ms=1)
    assert "wait_for_persisted_port(" in inspect.getsource(node.Node.start_gcs_server), "who waits for it now? see compat.init_new"


def test_ray_still_starts_what_a_machine_alone_has_no_use_for_with_these_methods(compat):
    from ray._private import node, services

    source = inspect.getsource(node.Node)
    for name in compat._IDLERS:
        assert callable(getattr(node.Node, name)) and f"self.{name}(" in source, f"who does {name} now? see compat._without_idlers"
    assert "get_dashboard_dependency_error()" in inspect.getsource(services.start_raylet), "see compat._without_idlers"


@pytest.mark.ray
@pytest.mark.leaves_behind("threads", "processes", "environment")
def test_ray_still_says_where_its_gcs_and_its_raylet_listen(compat, on_ray):
    from disttrain.clusters.ray.vitals import Line

    raylet = compat.raylet_socket()
    assert raylet is not None and raylet.startswith("/"), "see compat.raylet_socket"
    for line in (Line(raylet), Line(compat.gcs_address())):
        assert line.is_up() and line.is_up()
        line.close()


class Told(Exception):
    """Stands for an error of Ray with that text."""


UNKNOWN = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tactor_id: d2e4\n\tpid: 10638\n\tip: 192.0.2.2\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits "
    "with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer due to high "
    "memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
CODE = "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits unexpectedly. Worker exits with an exit code 5."
TERMINATED = "Worker exit detail: Worker exits unexpectedly. Worker exits with an exit code 1. The process receives a SIGTERM."


def test_what_ray_says_of_a_death_is_understood(compat):
    assert [compat.exit_code_in(text) for text in (UNKNOWN, CODE, TERMINATED)] == [None, 5, None]
    assert [compat.was_terminated(text) for text in (UNKNOWN, CODE, TERMINATED)] == [False, False, True]
    assert [compat.pid_in(text) for text in (UNKNOWN, CODE)] == [10638, None]
    assert [compat.ran_out_of_memory(text) for text in (UNKNOWN, "Task was killed due to the node running low on memory.")] == [False, True]
    assert compat.says_node_died("The actor died because its node has died. Node Id: 0") and not compat.says_node_died(UNKNOWN)
    assert compat.brief(Told(UNKNOWN)) == "its process ended without a word"


def test_the_words_of_ray_are_still_those():
    from ray._private.ray_constants import __file__ as constants

    core = Path(constants).parents[1]
    parts = ("core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server", "_raylet.so", "_private/worker.py")
    said = b"".join((core / part).read_bytes() for part in parts)
    words = ("exits with a connection error code", "exits with an exit code", "receives a SIGTERM", "its node has died")
    for word in (*words, "actor's node was terminated", "actor's node was preempted", "low on memory"):
        assert word.encode() in said, f"Ray no longer says {word!r}: see the end of disttrain/clusters/ray/compat.py"


@pytest.mark.parametrize("package", ["ray", "torch"])
def test_what_is_installed_is_below_the_upper_bound(package):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = next(line for line in declared if re.match(rf"{package}[<>=~]", line))
    upper = re.search(r"<(\d+)\.(\d+)", bounds)
    assert upper is not None, f"pyproject.toml: {bounds} has no upper bound, though we rely on things that {package} does not promise"
    installed = tuple(int(part) for part in version(package).split(".")[:2])
    limit = (int(upper[1]), int(upper[2]))
    assert installed < limit, (
        f"{package} {version(package)} is installed, pyproject.toml allows {bounds}. To move the bound: run `make test` with the new "
        f"version, mend what tests/unit/clusters and tests/unit/collectives name, then write {package} <{installed[0]}.{installed[1] + 1}."
    )
