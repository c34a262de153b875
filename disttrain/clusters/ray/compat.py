"""Everything of Ray that is no public promise of it, in one place; `tests/unit/clusters` names at once what a new version breaks.

What is relied on: the options `_temp_dir`, `_node_ip_address` and `_system_config` of `ray.init`, the switch that keeps Ray on loopback
where it is no cluster, what makes it read its token anew, the names in `SYSTEM_CONFIG`, the function with which a driver prints what its
raylets say, the one that waits for a port and how the file is called that it waits for, the methods that start
those of its processes which a machine alone has no use for, the folder of a process's logs, the socket of its
raylet, the list of the processes that it has started, what its autoscaler may start, whether its node was started here, the label that
holds a node's id, and the wording of what Ray says about a dead
process. What Ray changes in this process is in `manners`.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import _raylet  # no public names lead to what is needed of these
from ray._private import node as _node
from ray._private import ray_constants, services
from ray._private import utils as _ray_utils
from ray._private import worker as _worker
from ray._private.state import state as _state
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

from disttrain.clock import SystemClock
from disttrain.clusters.ray import manners, tokens
from disttrain.errors import UsageError

# Ray's own limits take 14 to 64 s to see a dead or frozen node.
SYSTEM_CONFIG: dict[str, Any] = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}

WORKER_CPUS = "disttrain_worker_cpus"  # what workers hold of a Ray that is ours

_QUIET: dict[str, Any] = {"namespace": "disttrain", "log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def init_new(folder: str, *, cpus: int, gpus: int, preloaded: list[str]) -> None:
    """Start a Ray of our own in this process's machine, which keeps everything in `folder` and listens on loopback alone."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # on Linux it would put the machine's address in the place of this one
    try:
        with manners.around_init(), _waiting_with_open_doors(), _without_idlers():
            _worker.init(
                address="local", num_cpus=cpus, num_gpus=gpus or None, resources={WORKER_CPUS: cpus}, include_dashboard=False,
                _temp_dir=folder, _node_ip_address="127.0.0.1",
                _system_config={"preload_python_modules": preloaded, **SYSTEM_CONFIG}, **_QUIET,
            )  # fmt: skip
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def init_joined(address: str) -> None:
    """Become a driver of the Ray at `address`."""
    with manners.around_init():
        _worker.init(address=address, **_QUIET)


def connected_to() -> str | None:
    """The address of the Ray that this process is a driver of already; None where it is of none.

    Raises:
        UsageError: it is a client of one (`ray://`), which can start no workers of ours.
    """
    if not ray.is_initialized():
        return None
    if ray.util.client.ray.is_connected():
        raise UsageError(
            "this process is a client of a Ray cluster (ray.init('ray://...')), from which workers cannot be driven.\n"
            "  expected  a driver inside the cluster\n"
            "  try       ray job submit, on the cluster; or address='HOST:PORT' from one of its machines"
        )
    return str(ray.get_runtime_context().gcs_address)


def room_here() -> tuple[float, float] | None:
    """(CPUs, GPUs) of a Ray that `ray.init` of this process has started, which will not grow; None for a cluster."""
    node = _worker._global_node
    if node is None or not node.is_head():
        return None
    offered = ray.cluster_resources()
    return offered.get("CPU", 0.0), offered.get("GPU", 0.0)


def cluster_cpus() -> tuple[float, float]:
    """CPUs of this process's Ray that are free, and all that it holds now."""
    return float(ray.available_resources().get("CPU", 0.0)), float(ray.cluster_resources().get("CPU", 0.0))


def cluster_gpus() -> tuple[float, float]:
    """GPUs that this process's Ray holds now, and those that it can grow to: more only where an autoscaler has said what it may start."""
    now = float(ray.cluster_resources().get("GPU", 0.0))
    limit = getattr(_state, "get_max_resources_from_cluster_config", lambda: None)() or {}
    return now, max(now, float(limit.get("GPU", 0.0)))


def leave() -> None:
    """Leave the Ray, and end it where it was started here: at once, since it heeds no SIGTERM (`own_signals`)."""
    node: Any = _worker._global_node
    for started in [] if node is None else [info for infos in node.all_processes.values() for info in infos]:
        started.process.terminate = started.process.kill
    _worker.shutdown()


@contextmanager
def _waiting_with_open_doors() -> Iterator[None]:
    """Ray waits for the port of its GCS without letting go of the interpreter, for up to 30 s: no other thread could hear a signal."""
    node: Any = _node
    wait = getattr(node, "wait_for_persisted_port", None)
    if wait is None:
        yield
        return
    clock, never = SystemClock(), threading.Event()

    def patient(folder: str, node_id: Any, name: str, *rest: Any, timeout_ms: int = 30_000, **more: Any) -> Any:
        end = clock.monotonic_s() + timeout_ms / 1000
        while clock.monotonic_s() < end and not any(found.startswith(name) for found in os.listdir(folder)):
            never.wait(0.02)
        return wait(folder, node_id, name, *rest, timeout_ms=max(100, int((end - clock.monotonic_s()) * 1000)), **more)

    with _replaced(node, wait_for_persisted_port=patient):
        yield


_IDLERS = ("start_monitor", "start_log_monitor", "start_api_server")


@contextmanager
def _without_idlers() -> Iterator[None]:
    """A Ray of our own starts neither an autoscaler, which has nothing to scale, nor who follows logs that no driver asks for, nor what is
    left of a dashboard that was not asked for: each is a Python process, and for the last Ray waits. Nor does it load what a dashboard
    would need in order to see whether it is there. On two cores all this is a fifth of what a launch waits for.
    """
    nothing: dict[str, Any] = dict.fromkeys(_IDLERS, lambda self, **_: None)
    no_dashboard = ImportError("no dashboard was asked for")
    with _replaced(_node.Node, **nothing), _replaced(_ray_utils, get_dashboard_dependency_error=lambda: no_dashboard):
        yield


@contextmanager
def _replaced(owner: Any, **others: Any) -> Iterator[None]:
    """In the block `owner` has these in the place of its own of the same names; of a name that it lacks, none."""
    own = {name: getattr(owner, name) for name in others if hasattr(owner, name)}
    for name in own:
        setattr(owner, name, others[name])
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(owner, name, value)


def resolved(address: str) -> str | None:
    """ "host:port" of an address such as "auto"; None where Ray does not say."""
    if "://" in address:
        return None
    try:
        found = services.canonicalize_bootstrap_address(address)
    except Exception:  # what is wrong with it, `ray.init` says
        return None
    return None if found is None else str(found)


def without_tokens() -> str | None:
    """The version of this Ray if it knows nothing of tokens; None where it does."""
    first = tuple(int(number) for number in tokens.FIRST.split("."))
    own = tuple(int(number) for number in re.findall(r"\d+", ray.__version__)[:2])
    return None if own >= first and hasattr(_raylet, "AuthenticationTokenLoader") else str(ray.__version__)


def reread_token() -> None:
    """Have Ray look at the environment again: it keeps the mode and the token that it read first."""
    raylet: Any = _raylet
    loader = getattr(raylet, "AuthenticationTokenLoader", None)
    if loader is not None:  # a Ray that knows of tokens
        raylet.Config.initialize("")
        loader.instance().reset_cache()


def hush() -> None:
    """Keep Ray's paragraphs about killed workers off the terminal, which has the run's own line about each.

    `log_to_driver=False` does not reach them: a thread of the driver prints them with this function, and nothing else then does.
    """
    _worker.print_to_stdstream = lambda *_, **__: None


def logs_folder() -> str | None:
    """Where this process's Ray keeps its logs; None where it does not say."""
    node = _worker._global_node
    return None if node is None else str(node.get_logs_dir_path())


def elsewhere(hosts: Collection[str]) -> dict[str, Any]:
    """Options of an actor that is to be placed on none of these machines. Ray calls a node by a label that holds its id; the label's
    name has changed between versions."""
    labels = [
        (name, value)
        for node in (ray.nodes() if hosts else ())
        if node["NodeManagerHostname"] in hosts
        for name, value in node.get("Labels", {}).items()
        if value == node["NodeID"]
    ]
    return {"scheduling_strategy": NodeLabelSchedulingStrategy({labels[0][0]: NotIn(*(node for _, node in labels))})} if labels else {}


def gcs_address() -> str:
    """Where the GCS of this process's Ray listens, as `host:port`."""
    return str(ray.get_runtime_context().gcs_address)


def raylet_socket() -> str | None:
    """The path of the socket of this process's raylet; None where it does not say."""
    node = _worker._global_node
    return None if node is None else str(node.raylet_socket_name)


def end_own_gcs() -> None:
    """End the GCS that this process has started, if it did.

    Some seconds after a raylet has died, its GCS tells the driver, and Ray looks for the driver's objects in the store that died with the
    raylet: then it ends the driver, with exit code 1 and without a word. Without a GCS there is time to end in order.
    """
    node: Any = _worker._global_node
    if node is not None:
        for started in node.all_processes.get("gcs_server", []):
            started.process.kill()


# -- what Ray says of a death -----------------------------------------------------------------------------------------------------------

_EXIT_CODE = re.compile(r"exits with an exit code (\d+)")
_PID = re.compile(r"^\s*pid: (\d+)$", re.MULTILINE)
_NODE_DIED = re.compile(
    r"\bnode (has )?died|node .{0,80} (is|was) (dead|marked dead|terminated)|node was (preempted|terminated)|raylet has died", re.I
)
_UNKNOWN = "Worker unexpectedly exits with a connection error"
_TERMINATED = "receives a SIGTERM"


def pid_in(text: str) -> int | None:
    """The process that died, where Ray names it."""
    found = _PID.search(text)
    return None if found is None else int(found.group(1))


def exit_code_in(text: str) -> int | None:
    """The exit code, where Ray saw one: that of a Python program that ended by itself."""
    found = _EXIT_CODE.search(text)
    return int(found.group(1)) if found is not None and _TERMINATED not in text else None


def was_terminated(text: str) -> bool:
    """Did the process receive a SIGTERM?"""
    return _TERMINATED in text


def says_node_died(text: str) -> bool:
    """Is the whole machine gone, as far as Ray knows?"""
    return _NODE_DIED.search(text) is not None


def ran_out_of_memory(text: str) -> bool:
    """Did Ray's own memory monitor end it? Its general advice about the OOM killer, given with every unknown death, says nothing."""
    return _UNKNOWN not in text and ("OutOfMemory" in text or "low on memory" in text or "memory pressure" in text)


def brief(error: BaseException) -> str:
    """Ray's reason in one line."""
    if isinstance(error, RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}".splitlines()[0][:300]
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if getattr(error, "actor_init_failed", False):
        return (text.strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
    if _UNKNOWN in text:
        return "its process ended without a word"
    for line in text.splitlines():
        if "died" in line or "exit" in line.lower() or "killed" in line.lower():
            return line.strip()[:300]
    return (text.strip().splitlines() or [type(error).__name__])[0].strip()[:300]
