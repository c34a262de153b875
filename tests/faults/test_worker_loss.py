"""Workers killed by SIGKILL at random moments and at exact places: one digest, no step lost, no process left."""

import os
import random
import signal
import time

import pytest
from launching import launch

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

OPTIONS = ("--virtual-workers", "4", "--seed", "3", "--checkpoint-every", "3steps")


def others_have_come(job, losses):
    """Has a newcomer asked to join, or joined, since so many workers had been lost?"""
    lost = job.events("worker lost")
    if len(lost) != losses:
        return False
    asked = [event for event in job.events("decision") if "joins at the next boundary" in event["because"]]
    joined = [event for event in job.events("formed") if len(event["members"]) > 1]
    return any(event["time"] >= lost[-1]["time"] for event in asked + joined)


def test_a_worker_that_dies_at_a_place_costs_no_step_and_no_bit(alone, tmp_path, ray_address):
    # One place after the other. What only one of a group can do waits at a gate until a newcomer has asked in; and a gate holds the
    # step after the checkpoint, for a shard is written while steps go on.
    acts = ("reduction:2:2", "optimizer:3:1", "gate:4:any", "checkpoint:9:1", "gate:9:any", "gate:11:any", "reduction:16:0")
    marks = tmp_path / "marks"
    harm = ("--sabotage", ",".join(acts), "--marks", str(marks))
    job = launch(tmp_path, "--workers", "3", *OPTIONS, arguments=harm, address=ray_address)
    job.wait_for(lambda s: others_have_come(job, losses=2))
    (marks / "gate-4").touch()
    job.wait_for(lambda s: len(job.events("worker lost")) == 3)
    (marks / "gate-9").touch()
    job.wait_for(lambda s: others_have_come(job, losses=3))
    (marks / "gate-11").touch()
    done = job.wait()
    assert done.code == 0, done.out
    assert len(list(marks.glob("done-*"))) == 4, f"not every act happened\n{done.out}"
    assert done.report == alone
    assert len(job.events("worker lost")) == 4 and not job.events("restart")


def test_two_workers_that_die_at_once_cost_no_step_and_no_bit(alone, tmp_path, ray_address):
    harm = ("--sabotage", "reduction:4:0,reduction:4:2", "--marks", str(tmp_path / "marks"))
    job = launch(tmp_path, "--workers", "3", *OPTIONS, arguments=harm, address=ray_address)
    done = job.wait()
    assert done.code == 0, done.out
    assert len(list((tmp_path / "marks").glob("done-*"))) == 2, f"not every act happened\n{done.out}"
    assert done.report == alone
    assert job.events("worker lost") and not job.events("restart")


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
    done = job.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    assert job.events("kill")
