"""Who works, who is slow, who is stuck: by what they say and by the measured ticks."""

from __future__ import annotations

from disttrain.orchestrator import GroupStuck, RecoveryPolicy
from disttrain.orchestrator.patience import Doing, Patience

POLICY = RecoveryPolicy(workers=3, virtual_workers=6)
ALL = ("w0", "w1", "w2")


def patience(policy: RecoveryPolicy = POLICY, **doing: Doing) -> Patience:
    found = Patience(policy)
    for worker, what in doing.items():
        found.heard(worker, what)
    return found


def waiting(since_s: float = 0.0, median_s: float = 2.0) -> Doing:
    return Doing("waiting", 118, 4, since_s, median_s, 2.5)


def computing(since_s: float = 0.0, median_s: float = 2.0, slowest_s: float = 2.5) -> Doing:
    return Doing("computing", 118, 4, since_s, median_s, slowest_s)


def test_whoever_others_wait_for_is_slow_and_nobody_is_stuck():
    look = patience(w0=waiting(), w1=waiting(), w2=computing()).look(ALL, 4, at_s=45.0)
    assert look.stuck == () and look.group_stuck is None
    assert look.slow is not None
    assert (look.slow.worker, look.slow.doing, look.slow.seconds, look.slow.others, look.slow.median_s) == (
        "w2", "computing tick 118", 45.0, 2, 2.0,
    )  # fmt: skip


def test_a_slow_worker_is_told_of_again_when_the_time_has_doubled():
    asked = patience(w0=waiting(), w1=waiting(), w2=computing())
    told = [at_s for at_s in range(1, 200) if asked.look(ALL, 4, float(at_s)).slow is not None]
    assert told == [10, 20, 40, 80, 160]


def test_two_slow_workers_are_told_of_no_oftener_than_one():
    asked = patience(w0=waiting(), w1=computing(), w2=computing())
    told = []
    for at_s in range(1, 45):
        asked.heard("w1", computing(since_s=0.01 * (at_s % 2)))  # now the one, now the other seems to have begun first
        slow = asked.look(ALL, 4, float(at_s)).slow
        told += [] if slow is None else [(slow.worker, at_s)]
    assert told == [("w1", 10), ("w2", 11), ("w1", 20), ("w2", 23), ("w1", 40)]


def test_a_worker_that_is_mute_for_longer_than_an_hour_is_stuck_though_its_process_runs():
    asked = patience(w0=waiting(), w1=Doing("boundary", 118, 4, 0.0))
    for at_s in range(5, 3606):
        asked.alive("w1", float(at_s))
    assert asked.look(("w0", "w1"), 4, at_s=3605.0).stuck == ()
    (stuck,) = asked.look(("w0", "w1"), 4, at_s=3606.0).stuck
    assert (stuck.worker, stuck.seconds) == ("w1", 3601.0)
    asked.heard("w1", Doing("boundary", 118, 4, 3606.0))
    assert asked.look(("w0", "w1"), 4, at_s=3607.0).stuck == ()


def test_who_has_said_that_it_stopped_is_not_called_slow_for_what_its_last_beat_said():
    asked = patience(w0=waiting(), w1=computing())
    asked.rests("w1", at_s=44.0)
    assert asked.look(("w0", "w1"), 4, at_s=45.0).slow is None


def test_a_pause_that_is_broken_off_began_to_stall_when_the_last_of_those_that_wait_did():
    assert patience(w0=waiting(since_s=3.0), w1=waiting(since_s=7.0), w2=computing(since_s=9.0)).waits_since(ALL) == 7.0
    assert patience(w2=computing()).waits_since(ALL) is None


def test_nobody_is_slow_while_nobody_waits_or_within_a_few_usual_steps():
    assert patience(w0=computing(), w1=computing(), w2=computing()).look(ALL, 4, 45.0).slow is None
    assert patience(w0=waiting(median_s=20.0), w1=computing(median_s=20.0)).look(("w0", "w1"), 4, 45.0).slow is None


def test_a_long_step_is_no_hang_until_a_limit_that_follows_the_measured_ones():
    fast = patience(w0=waiting(), w1=waiting(), w2=computing())
    assert fast.look(ALL, 4, at_s=299.0).stuck == ()
    (stuck,) = fast.look(ALL, 4, at_s=301.0).stuck
    assert (stuck.worker, stuck.doing, stuck.seconds, stuck.limit_s) == ("w2", "computing tick 118", 301.0, 300.0)
    slow = patience(w0=waiting(median_s=90.0), w1=computing(median_s=90.0, slowest_s=1000.0))
    assert slow.look(("w0", "w1"), 4, at_s=4999.0).stuck == () and len(slow.look(("w0", "w1"), 4, at_s=5001.0).stuck) == 1


def test_before_the_first_tick_is_known_and_for_what_is_no_tick_patience_is_an_hour():
    unknown = patience(w0=Doing("computing", 0, 1, 0.0), w1=Doing("opening", -1, -1, 0.0))
    assert unknown.look((), 1, at_s=3599.0).stuck == () and len(unknown.look((), 1, at_s=3601.0).stuck) == 2
    assert unknown.working(0.0) == {"w0", "w1"}


def test_a_limit_that_was_asked_for_holds_for_all_of_it():
    policy = RecoveryPolicy(workers=3, virtual_workers=6, hang_timeout_s=20.0)
    asked = patience(policy, w0=waiting(), w1=computing(), w2=Doing("opening", -1, -1, 0.0))
    assert {stuck.worker for stuck in asked.look(("w0", "w1"), 4, at_s=21.0).stuck} == {"w1", "w2"}


def test_who_waits_for_the_callbacks_or_for_nothing_is_never_stuck():
    idle = patience(w0=Doing("boundary", 5, 1, 0.0, 1.0, 1.0), w1=Doing("idle", 5, 1, 0.0, 1.0, 1.0))
    assert idle.look(("w0", "w1"), 1, at_s=1e6).stuck == ()


def test_a_group_of_which_all_wait_for_each_other_is_stuck_and_none_of_its_workers():
    asked = patience(w0=waiting(), w1=waiting(5.0), w2=waiting(7.0))
    assert asked.look(ALL, 4, at_s=306.0).group_stuck is None
    look = asked.look(ALL, 4, at_s=308.0)
    assert look.group_stuck == GroupStuck(4, 301.0, 308.0) and look.stuck == ()


def test_a_group_with_a_member_nothing_is_known_of_is_not_judged():
    assert patience(w0=waiting(), w1=waiting()).look(ALL, 4, at_s=1e6).group_stuck is None


def test_the_dead_are_forgotten():
    asked = patience(w0=computing())
    asked.forget("w0")
    assert asked.look(("w0",), 4, at_s=1e6).stuck == () and asked.doing("w0") is None


def test_a_silent_worker_whose_process_runs_counts_as_working_while_its_machine_says_so():
    asked = patience(w0=waiting())
    assert asked.working(0.0) == set()
    asked.alive("w0", at_s=100.0)
    assert asked.working(104.0) == {"w0"} and asked.working(106.0) == set()
    asked.alive("w0", at_s=107.0)
    asked.heard("w0", waiting())
    assert asked.working(107.0) == set()
