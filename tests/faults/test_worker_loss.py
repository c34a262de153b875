"""Workers killed by SIGKILL at random moments and at exact places: one digest, no step lost, no process left."""

import os
import random
import signal
import time

import pytest
from launching import launch, python

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

OPTIONS = ("--virtual-workers", "4", "--seed", "3", "--checkpoint-every", "3steps")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return python(tmp_path_factory.mktemp("alone"), "--virtual-workers", "4")


@pytest.mark.parametrize(
    ("place", "acts"),
    [
        ("the reduction", "reduction:4:1"),
        ("the optimizer", "optimizer:5:0"),
        ("a checkpoint", "checkpoint:6:1"),
        ("two places at once", "reduction:4:0,reduction:4:2"),
    ],
)
def test_a_worker_that_dies_at_a_place_costs_no_step_and_no_bit(place, acts, alone, tmp_path, ray_address):
    harm = ("--sabotage", acts, "--marks", str(tmp_path / "marks"), "--delay", "0.1")
    job = launch(tmp_path, "--workers", "3", *OPTIONS, arguments=harm, address=ray_address)
    done = job.wait()
    assert done.code == 0, done.out
    assert len(list((tmp_path / "marks").iterdir())) == len(acts.split(",")), f"not every act happened\n{done.out}"
    assert done.report == alone
    assert job.events("worker lost") and not job.events("restart")


def asks_in(job, since):
    """Has a newcomer asked to join since then?"""
    return any(event["time"] >= since and "joins at the next boundary" in event["because"] for event in job.events("decision"))


def test_workers_that_die_one_after_the_other_and_one_more_when_another_has_come_cost_no_step_and_no_bit(alone, tmp_path, ray_address):
    acts = ("reduction:2:2", "optimizer:3:1", "gate:8:any", "reduction:12:0")
    job = launch(
        tmp_path,
        "--workers",
        "3",
        *OPTIONS,
        arguments=("--sabotage", ",".join(acts), "--marks", str(tmp_path / "marks")),
        address=ray_address,
    )
    # The last act is one of a group, so a newcomer has to ask in first: it does so while step 8 waits.
    job.wait_for(lambda s: len(job.events("worker lost")) == 2 and asks_in(job, since=job.events("worker lost")[1]["time"]))
    (tmp_path / "marks" / "gate-8").touch()
    done = job.wait()
    assert done.code == 0, done.out
    assert len(list((tmp_path / "marks").glob("done-*"))) == 3, f"not every act happened\n{done.out}"
    assert done.report == alone
    assert len(job.events("worker lost")) == 3 and not job.events("restart")


def test_two_of_four_killed_at_random_moments_come_back_and_change_nothing(alone, tmp_path, ray_address):
    chance = random.Random(7)
    slowly = tmp_path / "slowly"  # until both have been replaced, however long a busy machine takes for that
    slowly.touch()
    job = launch(tmp_path, "--workers", "4", *OPTIONS, arguments=("--delay", "2", "--delay-file", str(slowly)), address=ray_address)
    killed = []
    for _ in range(2):
        now = job.wait_for(lambda s: s["kind"] == "fit" and s["phase"] == "running" and len(s["workers"]) == 4)
        time.sleep(chance.random() * 0.3)
        victim = chance.choice(now["workers"])["pid"]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        job.wait_for(lambda s, dead=victim: all(worker["pid"] != dead for worker in s["workers"]))
    job.wait_for(lambda s: s["phase"] == "running" and len(s["workers"]) == 4)
    slowly.unlink()
    done = job.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert len(job.events("worker lost")) == 2
    sizes = [len(event["members"]) for event in job.events("formed")]
    assert 3 in sizes and sizes.count(4) >= 2, f"nobody came back: {sizes}"


def test_every_worker_killed_at_once_goes_on_from_the_newest_checkpoint(alone, tmp_path, ray_address):
    job = launch(tmp_path, "--workers", "2", *OPTIONS, arguments=("--delay", "0.1"), address=ray_address)
    now = job.wait_for(lambda s: s["kind"] == "fit" and s["epoch"] >= 2 and len(s["workers"]) == 2)
    for worker in now["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    done = job.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert job.events("restart")


def test_a_stopped_worker_is_found_killed_and_replaced(alone, tmp_path, ray_address):
    job = launch(tmp_path, "--workers", "2", *OPTIONS, arguments=("--delay", "0.1"), address=ray_address)
    now = job.wait_for(lambda s: s["kind"] == "fit" and s["step"] >= 2 and len(s["workers"]) == 2)
    os.kill(now["workers"][1]["pid"], signal.SIGSTOP)
    done = job.wait(240)
    assert done.code == 0, done.out
    assert done.report == alone
    assert job.events("kill")
