"""The script's Ray and the run's are one: against a stand-in for Ray that starts slowly. Integration tests have the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RAY = {
    "__init__.py": """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "thirdparty_files"))
from ray._private.worker import get_runtime_context, init, is_initialized, shutdown
def data():  # as Ray's own functions: what is not there yet is started
    import ray
    if not ray.is_initialized():
        ray.init()
    return "data of " + ray.get_runtime_context().gcs_address
""",
    "_private/__init__.py": "",
    "_private/utils.py": """
import signal
def set_sigterm_handler(handler):
    signal.signal(signal.SIGTERM, handler)
""",
    "_private/worker.py": """
import faulthandler, os, sys, time
from types import SimpleNamespace
import ray._private.utils
state = {"started": [], "address": None}
def init(address=None, **wishes):
    ray._private.utils.set_sigterm_handler(lambda *_: None)
    if state["address"] is not None:
        assert wishes.get("ignore_reinit_error"), "Perhaps you called ray.init twice by accident?"
        return state["address"]
    time.sleep(0.2)
    faulthandler.is_enabled() or faulthandler.enable()
    os.environ["PYTHONBREAKPOINT"] = "ray.util.rpdb._driver_set_trace"
    state["started"].append(wishes)
    state["address"] = address or "10.0.0.1:6379"
    return state["address"]
def shutdown():
    state["address"] = None
def is_initialized():
    return state["address"] is not None
def get_runtime_context():
    return SimpleNamespace(gcs_address=state["address"])
normal_excepthook = sys.excepthook
def custom_excepthook(*error):
    pass
sys.excepthook = custom_excepthook
""",
}
# What a launch does: a thread starts Ray while the script runs.
DRIVER = """
import faulthandler, os, signal, sys, threading
from disttrain.clusters.ray import manners
from disttrain.clusters.ray.meeting import one_ray

told, up, before = [], threading.Event(), (sys.excepthook, signal.getsignal(signal.SIGTERM), dict(os.environ), sys.path[0])

def start():
    import ray
    from ray._private import worker
    with manners.around_init():
        worker.init(num_cpus=2)
    up.set()

def outcome():
    import ray
    worker = sys.modules["ray._private.worker"]
    print("STARTED", worker.state["started"], "TOLD", told)
    now = sys.excepthook, signal.getsignal(signal.SIGTERM), dict(os.environ), sys.path[0]
    print("KEPT", now == before, faulthandler.is_enabled())
    print("DOOR", ray.init is worker.init, ray.shutdown is worker.shutdown, [found for found in sys.meta_path if "OnImport" in str(found)])

thread = threading.Thread(target=start)
with one_ray(up.wait, told.append):
    thread.start()
    {script}
    thread.join()
outcome()
"""


@pytest.fixture
def launched(tmp_path: Path):
    """Runs lines of a script while a thread starts Ray; what was printed."""
    for name, text in RAY.items():
        (tmp_path / "ray" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ray" / name).write_text(text)

    def run(*lines: str) -> str:
        script = tmp_path / "driver.py"
        script.write_text(DRIVER.replace("{script}", "\n    ".join(lines)))
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        assert "KEPT True False" in done.stdout, done.stdout
        assert "DOOR True True []" in done.stdout, done.stdout
        return done.stdout

    return run


@pytest.mark.parametrize(
    "lines",
    [
        ["import ray; print(ray.init())"],
        ["from ray import init; print(init())"],
        ["import ray; print(ray.init('auto', log_to_driver=True))"],
        ["import ray; print(ray.init(address='10.0.0.1:6379'))"],
        ["import ray; print(ray.data())"],
        ["import ray; ray.is_initialized() or ray.init(); print(ray.data())"],
        ["thread.join(); import ray; print(ray.data()); print(ray.init())"],
    ],
    ids=["init", "imported init", "auto", "by address", "by itself", "asked first", "after the first fit"],
)
def test_whatever_the_script_asks_of_ray_first_there_is_one_and_nothing_to_say(lines, launched):
    shown = launched(*lines)
    assert "10.0.0.1:6379" in shown and "STARTED [{'num_cpus': 2}] TOLD []" in shown


def test_wishes_that_come_to_nothing_are_named_with_their_line_once(launched):
    shown = launched("import ray", "for _ in range(2): ray.init(num_cpus=8, runtime_env={'pip': ['x']}, include_dashboard=False)")
    assert shown.count("ray.init(num_cpus=8, runtime_env={'pip': ['x']})") == 1
    assert "driver.py:27: " in shown and "num_cpus, runtime_env change nothing" in shown


def test_another_cluster_is_refused_by_name(launched):
    shown = launched(
        "import ray", "try: ray.init(address='10.9.9.9:6379')", "except ValueError as error: print('REFUSED', type(error).__name__, error)"
    )
    assert "REFUSED UsageError" in shown and "--address 10.9.9.9:6379" in shown and "10.0.0.1:6379" in shown


def test_a_shutdown_of_the_script_takes_nothing_from_the_run(launched):
    shown = launched("import ray", "thread.join()", "ray.shutdown()", "print(ray.is_initialized(), ray.init())")
    assert "True 10.0.0.1:6379" in shown
    assert "ray.shutdown() does nothing here" in shown and "driver.py:28: " in shown


def test_a_ray_that_was_imported_before_is_met_as_well(launched):
    assert "STARTED [{'num_cpus': 2}] TOLD []" in launched("pass")  # it is imported on the thread alone
