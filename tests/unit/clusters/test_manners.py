"""The variables of Ray, once it is over."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from disttrain.clusters.ray.breakpoints import refuse_breakpoints
from disttrain.clusters.ray.instance import RayOptions, _check_choice, wait_for_answer
from disttrain.clusters.ray.manners import Environment
from disttrain.errors import InfrastructureError, UsageError


def test_variables_that_a_start_has_set_go_and_those_of_others_stay(monkeypatch):
    monkeypatch.setenv("RAY_GIVEN", "a person's")
    monkeypatch.setenv("RAY_CHANGED", "before")
    for name in ("RAY_SET", "RAY_MINE", "OTHER"):
        monkeypatch.delenv(name, raising=False)
    environment = Environment()
    monkeypatch.setenv("RAY_SET", "1")
    monkeypatch.setenv("RAY_CHANGED", "after")
    monkeypatch.setenv("OTHER", "1")
    environment.started()
    monkeypatch.setenv("RAY_MINE", "the script's, later")
    environment.put_back()
    environment.put_back()
    now = {name: os.environ.get(name) for name in ("RAY_GIVEN", "RAY_CHANGED", "RAY_SET", "RAY_MINE", "OTHER")}
    assert now == {"RAY_GIVEN": "a person's", "RAY_CHANGED": "before", "RAY_SET": None, "RAY_MINE": "the script's, later", "OTHER": "1"}


def test_what_the_script_changes_after_the_start_is_its_own(monkeypatch):
    monkeypatch.delenv("RAY_SET", raising=False)
    environment = Environment()
    monkeypatch.setenv("RAY_SET", "1")
    environment.started()
    monkeypatch.setenv("RAY_SET", "2")
    environment.put_back()
    assert os.environ["RAY_SET"] == "2"


def test_a_breakpoint_in_a_worker_is_an_error_with_its_place(monkeypatch):
    monkeypatch.setattr(sys, "breakpointhook", sys.breakpointhook)
    monkeypatch.setenv("PYTHONBREAKPOINT", "ray.util.rpdb.set_trace")
    refuse_breakpoints()
    with pytest.raises(UsageError, match=r"test_manners\.py:[0-9]+, in a worker, which has no terminal"):
        breakpoint()
    assert "PYTHONBREAKPOINT" not in os.environ


def test_a_ray_that_the_script_chose_before_is_the_runs_where_it_fits():
    two = RayOptions(cpus=2)
    _check_choice(two, "10.0.0.1:6379", (2.0, 0.0))
    _check_choice(two, "10.0.0.1:6379", None)  # a cluster, which may grow
    _check_choice(RayOptions(address="auto", cpus=2), "10.0.0.1:6379", None)
    with pytest.raises(UsageError, match=r"offers 1 CPUs.*\n.*\n.*ray.init\(num_cpus=2"):
        _check_choice(two, "10.0.0.1:6379", (1.0, 0.0))
    with pytest.raises(UsageError, match=r"a driver of the Ray at .* already, and the run was to join"):
        _check_choice(RayOptions(address="10.9.9.9:6379"), "10.0.0.1:6379", None)


def test_an_address_where_nobody_listens_is_told_without_asking_ray():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InfrastructureError, match=f"no Ray at {address}: .*refused.*\n.*\n.*disttrain doctor --address {address}"):
            wait_for_answer(address, limit_s=0.0)
        free.listen()
        wait_for_answer(address, limit_s=0.0)
