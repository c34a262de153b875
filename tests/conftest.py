"""What holds for every test: maths in one thread, the same examples on every CI run, and nothing left behind."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from leaks import Surroundings, clear_away

pytest.register_assert_rewrite("keras_parity", "store_suite")  # so that a failure there shows both sides

pytest_plugins = ["ray_fixture", "told", "undisturbed"]  # a Ray and a report that tests share, and what is told under the results

# Before any test imports torch or numpy, which read these once. One thread, since sums split over threads differ between machines.
os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

# What compiling with torch sets and starts by itself; and the backend of Keras, beside which numbers are compared.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"torchinductor_{os.getuid()}"))
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes
os.environ["KERAS_BACKEND"] = "torch"

# No deadline: a busy machine is not a failure. On CI the examples are a function of the test, so that a red run can be repeated.
hypothesis.settings.register_profile("disttrain", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("disttrain")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-browser", action="store_true", help="fail, instead of skip, the browser tests where there is no Chromium")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "leaves_behind(*kinds): this test may leave 'threads', 'processes' or 'environment' changes; say why"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of processes that share the tests, file by file, the first begins with what needs other real processes, the others with the rest.

    Tests that wait and tests that compute are so done side by side, and whoever is done first takes of what is left: long files first, so
    that all end together.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.split("::")[0]

        def _assign_work_unit(self, node: Any) -> None:
            waits = node is self.nodes[0]
            self.workqueue.move_to_end(min(self.workqueue, key=lambda path: (_needs_processes(path) != waits, _rank(path))), last=False)
            super()._assign_work_unit(node)

    return Sharing(config, log)


_PROCESSES = ("faults", "security", "unit/clusters", "conformance", "browser", "integration")
_LONG = (
    "faults/test_worker_loss", "security/test_the_door", "integration/test_endings", "integration/test_examples",
    "integration/test_newcomer", "integration/test_documented_commands", "integration/test_tensorboard_under_launch",
    "integration/test_ray_in_scripts", "integration/test_one_digest", "integration/test_resume", "simulation/test_simulation",
)  # fmt: skip


def _needs_processes(path: str) -> bool:
    return path.startswith(tuple(f"tests/{folder}/" for folder in _PROCESSES))


def _rank(path: str) -> int:
    """Where a file stands among those of its kind: the long ones first, the longest at the head."""
    return next((number for number, file in enumerate(_LONG) if path == f"tests/{file}.py"), len(_LONG))


@pytest.fixture(autouse=True)
def signals_as_a_process_begins() -> None:
    """Each test, and the processes it begins: Ray sets handlers where it is started, and who began all this may ignore a hangup."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell begins in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread, a child process or a changed environment variable behind.

    Fixtures of a wider scope, such as a session's Ray cluster, are set up before this one and are not the test's.
    """
    before = Surroundings.now()
    yield
    allowed = [kind for marker in request.node.iter_markers("leaves_behind") for kind in marker.args]
    found = clear_away(before, allowed)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)
