"""Runs under attack by somebody who may reach them and belongs to them in no way; and SECURITY.md, held against what really listens.

On a laptop: from another network namespace, where nothing may be reached, and from beside the run, as another user of the machine, who
reaches its loopback. On a cluster with a token: from another network namespace, which reaches every port. Each time while it trains: the
stranger joins, submits, calls, reads and writes keys, and sends garbage to every port. Everything is refused, and no bit is another one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from launching import Finished, Launch, launch
from listeners import Listener, listeners_of, processes_of
from shared_ray import SharedRay
from two_networks import STRANGER, VICTIM, TwoNetworks, why_not

from disttrain.clusters.ray.tokens import TOKEN

pytestmark = [pytest.mark.ray, pytest.mark.faults]

_OPTIONS = ("--workers", "2", "--virtual-workers", "4", "--seed", "3", "--hang-timeout", "300")
_LAST = 16  # of 18 steps; it waits for the end of the attack
_SCRIPT = ("--virtual-workers", "4")
_LIMIT_S = 600.0
_REFUSED = {"12", "16", "None"}  # it has no such method, unauthenticated, or no answer of gRPC's at all


@dataclass
class Siege:
    """What a run under attack was like: who tried what from where, and how it ended."""

    listening: list[Listener]
    said: dict[str, dict[str, Any]]  # by the place of the stranger
    done: Finished
    losses: list[dict[str, Any]]
    achieved: list[str]


@pytest.fixture(scope="module")
def networks() -> Iterator[TwoNetworks]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with TwoNetworks() as made:
        yield made


@pytest.fixture(scope="module")
def laptop(networks, tmp_path_factory) -> Siege:
    folder = tmp_path_factory.mktemp("laptop")
    job = started(folder, networks)
    return besieged(job, folder, networks, [(STRANGER, VICTIM), (VICTIM, "127.0.0.1")], [job.process.pid])


@pytest.fixture(scope="module")
def cluster(networks, tmp_path_factory) -> Iterator[Siege]:
    folder = tmp_path_factory.mktemp("cluster")
    with SharedRay(cpus=4, host=VICTIM, token="of-this-cluster", within=networks.at(VICTIM), all_of_it=True) as ray:
        job = started(folder, networks, address=ray.address, variables={TOKEN: "of-this-cluster"})
        yield besieged(job, folder, networks, [(STRANGER, VICTIM)], [job.process.pid, ray.pid])


def started(folder: Path, networks: TwoNetworks, **how: Any) -> Launch:
    arguments = (*_SCRIPT, "--delay", "0.05", "--sabotage", f"gate:{_LAST}:any", "--marks", str(folder / "marks"))
    return launch(folder, *_OPTIONS, arguments=arguments, within=networks.at(VICTIM), **how)


def besieged(job: Launch, folder: Path, networks: TwoNetworks, places: list[tuple[str, str]], roots: list[int]) -> Siege:
    """The run, attacked from each (place, address that is attacked) in turn."""
    try:
        job.wait_for(lambda status: status["step"] >= 2, limit_s=_LIMIT_S)
        processes = list({process.pid: process for root in roots for process in processes_of(root)}.values())
        listening = listeners_of(processes)
        ports = {listener.port for listener in listening}
        store = next(listener.port for listener in listening if listener.kind == "store_server.py")
        (folder / "achieved").mkdir()
        said = {}
        for place, target in places:
            numbers = [str(number) for number in (gcs_port(processes), store)]
            command = [*networks.at(place), sys.executable, str(Path(__file__).with_name("stranger.py")), target, *numbers]
            command += [str(folder / "achieved"), *map(str, sorted(ports))]
            tried = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=_LIMIT_S)
            assert tried.returncode == 0, tried.stderr
            said[f"{place} at {target}"] = json.loads(tried.stdout.splitlines()[-1])
        assert job.process.poll() is None and job.status()["step"] < _LAST + 1, "the run was over before the attack was"
    finally:
        (folder / "marks" / f"gate-{_LAST}").touch()
        done = job.wait()
    losses = [event for kind in ("worker lost", "restart", "kill") for event in job.events(kind)]
    return Siege(listening, said, done, losses, sorted(file.name for file in (folder / "achieved").iterdir()))


def gcs_port(processes: list[psutil.Process]) -> int:
    found = re.search(r"--gcs-address=\S+:(\d+)", " ".join(word for process in processes for word in process.cmdline()))
    assert found is not None
    return int(found[1])


def promised(column: str) -> dict[str, set[str]]:
    """What SECURITY.md says of where each process listens."""
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text().partition("## What listens")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    heads, *rows = rows
    found = {row[0].strip("`"): set(row[heads.index(column)].split(", ")) for row in rows if not row[0].startswith("---")}
    return {kind: where for kind, where in found.items() if where != {"-"}}


def places(listening: list[Listener]) -> dict[str, set[str]]:
    names = {VICTIM: "the node's", "0.0.0.0": "every", "::": "every", "127.0.0.1": "loopback"}
    found: dict[str, set[str]] = {}
    for listener in listening:
        found.setdefault(listener.kind, set()).add(names.get(listener.host, listener.host))
    return found


# -- a laptop -----------------------------------------------------------------------------------------------------------------------------


def test_on_a_laptop_everything_listens_on_loopback_and_security_md_names_it(laptop):
    assert {listener.host for listener in laptop.listening} == {"127.0.0.1"}, laptop.listening
    assert places(laptop.listening) == promised("on a laptop")


def test_from_another_machine_nothing_of_a_run_on_a_laptop_can_be_reached(laptop):
    assert laptop.said[f"{STRANGER} at {VICTIM}"] == {"connected": []}


def test_another_user_of_the_laptop_is_refused_by_everything(laptop):
    refused(laptop, f"{VICTIM} at 127.0.0.1")


def test_a_run_on_a_laptop_under_attack_ends_with_the_undisturbed_bits(laptop, alone):
    undisturbed(laptop, alone)


# -- a cluster with a token ---------------------------------------------------------------------------------------------------------------


def test_on_a_cluster_what_listens_is_what_security_md_names(cluster):
    assert places(cluster.listening) == promised("on a cluster")


def test_a_stranger_who_reaches_every_port_of_a_cluster_is_refused_by_everything(cluster):
    refused(cluster, f"{STRANGER} at {VICTIM}")


def test_a_run_on_a_cluster_under_attack_ends_with_the_undisturbed_bits(cluster, alone):
    undisturbed(cluster, alone)


def refused(siege: Siege, where: str) -> None:
    said = siege.said[where]
    assert len(said["connected"]) > 5  # it was there
    assert set(said["calls"]) <= _REFUSED and "16" in said["calls"], said
    assert all(words.startswith("refused") for words in said["store"].values()), said
    assert len(said["codes"]) == 4 and 0 not in said["codes"].values(), said
    assert siege.achieved == []


def undisturbed(siege: Siege, alone: dict[str, Any]) -> None:
    assert siege.done.code == 0, siege.done.out
    assert siege.losses == []
    assert siege.done.report == alone
