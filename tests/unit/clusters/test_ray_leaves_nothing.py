"""A Ray that was started here leaves no process and no folder, however its driver ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from disttrain.clusters.ray import sweeper

_LIMIT_S = 300.0

_DRIVER = """
import os, sys, time
sys.path[:0] = {path!r}
from disttrain.clusters.ray import instance
begun = instance.Sweeper
def tell(folder):
    made = begun(folder)
    print(folder, flush=True)
    return made
instance.Sweeper = tell
ray = instance.RayInstance(instance.RayOptions(cpus=1))
ray.start()
{then}
"""


def driver(then: str = "print('started', flush=True); time.sleep(600)") -> tuple[subprocess.Popen[str], str]:
    """A process that starts a Ray, and the folder of that."""
    code = _DRIVER.format(path=[str(Path(__file__).parents[3])], then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def wait_for(condition, what: str):
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"this never came: {what}")


def nothing_is_left(folder: str) -> None:
    wait_for(lambda: not os.path.exists(folder), f"the end of {folder}")
    assert sweeper.processes_of(folder) == set()
    sweepers = [p for p in psutil.process_iter(["cmdline"]) if folder in (p.info["cmdline"] or [])]
    assert psutil.wait_procs(sweepers, timeout=_LIMIT_S)[1] == []


def commands_of(folder: str) -> str:
    found = []
    for pid in sweeper.processes_of(folder):
        try:
            found.append(" ".join(psutil.Process(pid).cmdline()))
        except psutil.Error:
            continue
    return "\n".join(found)


# How far Ray has come when the signal arrives: its folder alone, its first process, its agents, or all of it.
MOMENTS = {
    "the folder": lambda folder: os.path.exists(folder),
    "the first process": lambda folder: "gcs_server" in commands_of(folder),
    "the agents": lambda folder: "agent" in commands_of(folder).lower(),
}


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "moment"),
    [*((signal.SIGKILL, moment) for moment in MOMENTS), *((n, "the agents") for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM))],
)
def test_a_signal_while_ray_starts_leaves_nothing(number, moment):
    process, folder = driver()
    wait_for(lambda: MOMENTS[moment](folder), moment)
    process.send_signal(number)
    process.communicate(timeout=_LIMIT_S)
    assert process.returncode != 0
    nothing_is_left(folder)


@pytest.mark.ray
@pytest.mark.faults
def test_a_signal_after_ray_has_started_leaves_nothing():
    process, folder = driver()
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    assert len(sweeper.processes_of(folder)) > 3
    process.kill()
    process.communicate(timeout=_LIMIT_S)
    nothing_is_left(folder)


@pytest.mark.ray
def test_the_folder_is_for_its_owner_alone_and_a_stop_leaves_nothing():
    process, folder = driver(
        "print('started', flush=True); sys.stdin.readline(); ray.stop(); ray.stop(); print('stopped', flush=True); time.sleep(600)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert process.stdin is not None
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert process.stdout.readline() == "stopped\n"
    assert not os.path.exists(folder) and sweeper.processes_of(folder) == set()
    assert psutil.Process(process.pid).children() == []  # no zombie either
    process.kill()
    process.communicate()


@pytest.mark.ray
@pytest.mark.faults
def test_an_error_while_ray_starts_is_told_and_leaves_nothing():
    broken = "import disttrain.clusters.ray.compat as c, ray\nc.SYSTEM_CONFIG['no_such_setting'] = 1\nray = None\n"
    code = _DRIVER.format(path=[str(Path(__file__).parents[3])], then="").replace(
        "ray = instance.RayInstance", broken + "ray = instance.RayInstance"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_LIMIT_S)
    assert done.returncode == 1 and "InfrastructureError: no Ray on this machine" in done.stderr
    nothing_is_left(done.stdout.splitlines()[0])


def test_a_person_who_looks_into_the_folder_is_left_alone(tmp_path):
    folder = str(tmp_path / "ray")
    os.mkdir(folder)
    log = Path(folder, "raylet.out")
    log.write_text("")
    follows = subprocess.Popen(["tail", "-f", str(log)], stdout=subprocess.DEVNULL)
    with log.open("ab") as out:
        writes = subprocess.Popen(["sleep", "600"], stdout=out)  # as what a worker's code started, say
    try:
        wait_for(lambda: writes.pid in sweeper.processes_of(folder), "the process of the Ray")
        assert follows.pid not in sweeper.processes_of(folder)
        assert sweeper.sweep(folder, quiet_s=0.0) == [writes.pid]
        assert writes.wait(timeout=_LIMIT_S) == -signal.SIGKILL and follows.poll() is None
    finally:
        for process in (follows, writes):
            process.kill()
            process.wait()
