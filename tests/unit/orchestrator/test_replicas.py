"""Who erred where workers should hold the same bits and do not: comparisons by hand."""

import pytest

from disttrain.orchestrator.replicas import (
    LIMIT,
    Comparison,
    Door,
    Doubt,
    Verdict,
    answer,
    avoided,
    expected_steps,
    judge,
    judge_audit,
    judge_door,
)

A, B, C, D = (letter.encode() for letter in "abcd")


def seen(tick, *digests, clean=False):
    return Comparison(tick, {f"w{number}": digest for number, digest in enumerate(digests)}, clean)


def verdicts(*comparisons):
    """What a series comes to, but for what is still open; and what is in doubt at last."""
    doubt, found = Doubt(), []
    for comparison in comparisons:
        judgement = judge(doubt, comparison)
        doubt = judgement.doubt
        found += [verdict for verdict in judgement.verdicts if verdict.kind != "open"]
    return found, doubt


def test_workers_that_agree_give_no_reason_to_say_anything():
    assert verdicts(seen(3, A, A), seen(6, B, B)) == ([], Doubt())


def test_after_a_difference_the_steps_are_watched_up_to_where_it_was_seen():
    found, doubt = verdicts(seen(6, A, B))
    assert not found and doubt.until == 6


def test_of_three_the_odd_one_out_had_erred_once_the_steps_agree():
    # the first pass is spoilt for all: its gradients came from a wrong weight
    found, doubt = verdicts(seen(6, A, A, B), seen(4, C, C, C, clean=True), seen(6, D, D, D, clean=True))
    assert found == [Verdict("transient", 6, ("w2",))] and doubt == Doubt()


def test_of_two_it_cannot_be_told_where_the_error_has_spread():
    assert verdicts(seen(6, A, B), seen(6, C, C, clean=True))[0] == [Verdict("transient", 6, ())]


def test_of_two_the_one_that_was_right_before_is_known_where_the_error_was_in_the_last_step():
    assert verdicts(seen(6, A, B), seen(6, A, A, clean=True))[0] == [Verdict("transient", 6, ("w1",))]


def test_a_worker_that_is_outvoted_in_two_clean_passes_errs_persistently():
    found, doubt = verdicts(seen(6, A, A, B), seen(4, C, C, D, clean=True), seen(5, A, A, C, clean=True))
    assert found == [Verdict("persistent", 5, ("w2",))]
    assert doubt == Doubt(until=6)  # the steps are still to be done, and watched


def test_two_that_differ_in_the_same_way_each_time_are_undecided():
    assert verdicts(seen(6, A, B), seen(1, C, D, clean=True), seen(1, C, D, clean=True))[0] == [Verdict("undecided", 1)]


def test_the_one_of_two_that_differs_from_itself_errs():
    assert verdicts(seen(6, A, B), seen(1, C, D, clean=True), seen(1, C, A, clean=True))[0] == [Verdict("persistent", 1, ("w1",))]


def test_a_step_that_gives_everybody_other_bits_each_time_is_not_deterministic():
    assert verdicts(seen(6, A, B), seen(1, C, D, clean=True), seen(1, A, B, clean=True))[0] == [Verdict("nondeterministic", 1)]


def test_a_spoilt_pass_is_no_proof_that_a_step_is_not_deterministic():
    found, doubt = verdicts(seen(6, A, B), seen(6, C, D, clean=True))
    assert not found and len(doubt.differences) == 2


def test_differences_without_end_are_given_up():
    series = [seen(tick, A, B, clean=True) for tick in range(LIMIT)]
    found, _ = verdicts(*series)
    assert found == [Verdict("hopeless", LIMIT - 1)]


def test_a_host_is_avoided_from_its_second_error_on_where_there_is_another():
    hosts = {"w0": "good", "w1": "bad"}
    assert avoided(hosts, {"bad": 1}) == ()
    assert avoided(hosts, {"bad": 2}) == ("bad",)
    assert avoided({"w0": "bad", "w1": "bad"}, {"bad": 9}) == ()


# -- the door ---------------------------------------------------------------------------------------------------------------------------


def at_the_door(*digests):
    door, answers = Door(), []
    for number, digest in enumerate(digests):
        door, said = judge_door(door, f"w{number}", digest)
        answers += said
    return door, answers


def test_those_who_get_the_same_bits_are_let_in():
    door, answers = at_the_door(A, A)
    assert answers == [("w0", True), ("w1", True)] and not door.asks


def test_one_that_differs_waits_for_a_third():
    door, answers = at_the_door(A, B)
    assert answers == [("w0", True)] and door.asks


@pytest.mark.parametrize(
    ("third", "says"),
    [
        (A, (("w1", False),)),
        (B, (("w0", False), ("w1", True))),
        (C, (("w1", False),)),  # of neither: who came first stays
        (None, (("w1", False),)),
    ],
)
def test_the_third_decides_between_two(third, says):
    door, _ = at_the_door(A, B)
    assert answer(door, third)[1] == says


def test_a_third_that_agrees_with_nobody_leaves_it_to_most_of_the_workers():
    door, _ = at_the_door(A, B, B)
    assert answer(door, C)[1] == (("w0", False), ("w1", True), ("w2", True))


def test_once_it_is_settled_who_differs_is_refused_at_once():
    door, _ = at_the_door(A, B)
    door, _ = answer(door, A)
    assert judge_door(door, "w2", B)[1] == (("w2", False),)
    assert judge_door(door, "w3", A)[1] == (("w3", True),)


# -- audits -----------------------------------------------------------------------------------------------------------------------------


def test_of_two_that_agree_at_the_second_attempt_the_one_that_changed_had_erred():
    assert judge_audit([{"w0": A, "w1": B}, {"w0": A, "w1": A}], 3) == Verdict("transient", 3, ("w1",))
    assert judge_audit([{"w0": B, "w1": A}, {"w0": A, "w2": A}], 3) == Verdict("transient", 3, ("w0",))


def test_an_owner_that_two_auditors_contradict_errs_persistently():
    assert judge_audit([{"w0": A, "w1": B}, {"w0": A, "w2": B}, {"w0": A, "w1": B}], 3) == Verdict("persistent", 3, ("w0",))


def test_two_that_contradict_each_other_each_time_are_undecided_and_one_that_wavers_is_not_believed():
    assert judge_audit([{"w0": A, "w1": B}] * 3, 3) == Verdict("undecided", 3)
    assert judge_audit([{"w0": A, "w1": B}, {"w0": A, "w1": C}, {"w0": A, "w1": D}], 3) == Verdict("persistent", 3, ("w1",))
    assert judge_audit([{"w0": A, "w1": B}, {"w0": C, "w1": D}], 3) == Verdict("nondeterministic", 3)


def test_the_expected_steps_follow_from_the_share_and_the_rate():
    assert expected_steps(0.01, 2, 4, 0.001) == pytest.approx(1 / (0.02 * 0.001))
    assert expected_steps(1.0, 2, 4, 0.5) == 2.0
