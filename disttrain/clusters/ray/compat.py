"""Everything of Ray that is no public promise of it, in one place; `tests/unit/clusters` names at once what a new version breaks.

What is relied on: the options `_temp_dir` and `_system_config` of `ray.init`, the names in `SYSTEM_CONFIG`, the function with which a
driver prints what its raylets say, the folder of a process's logs, the label that holds a node's id, and the wording of what Ray says
about a dead process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Any

import ray
from ray._private import worker as _worker  # no public name leads to what is needed of it
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

# Ray's own limits take 14 to 64 s to see a dead or frozen node.
SYSTEM_CONFIG: dict[str, Any] = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}

_QUIET: dict[str, Any] = {"namespace": "disttrain", "log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def init_new(folder: str, *, cpus: int, gpus: int, preloaded: list[str]) -> None:
    """Start a Ray of our own in this process's machine, which keeps everything in `folder`."""
    ray.init(
        address="local", num_cpus=cpus, num_gpus=gpus or None, include_dashboard=False, _temp_dir=folder,
        _system_config={"preload_python_modules": preloaded, **SYSTEM_CONFIG}, **_QUIET,
    )  # fmt: skip


def init_joined(address: str) -> None:
    """Become a driver of the Ray at `address`."""
    ray.init(address=address, **_QUIET)


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
