"""The tuple whose versions share their memory is, in all that can be seen of it, a tuple."""

from __future__ import annotations

import pickle

import hypothesis.strategies as st
from hypothesis import given

from disttrain.orchestrator.shared_tuple import SharedTuple
from disttrain.orchestrator.states import Holding

NAMES = [f"w{number}" for number in range(6)]


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["plus", "without"]), st.sampled_from(NAMES)), max_size=40))
def test_every_version_stays_what_it_was_whatever_is_made_of_it_or_of_older_ones(changes):
    shared, plain = [SharedTuple(("w0", "w1"))], [("w0", "w1")]
    for of, change, name in changes:
        place = len(shared) - 1 - min(of, len(shared) - 1)  # mostly the newest, now and then an older one
        shared.append(getattr(shared[place], change)(name))
        plain.append((*plain[place], name) if change == "plus" else tuple(one for one in plain[place] if one != name))
    for ours, theirs in zip(shared, plain, strict=True):
        assert ours == theirs and theirs == ours and len(ours) == len(theirs) and bool(ours) == bool(theirs)
        assert (tuple(ours), hash(ours), repr(ours), list(ours[1:])) == (theirs, hash(theirs), repr(theirs), list(theirs[1:]))
        assert [ours.has(name) for name in NAMES] == [name in theirs for name in NAMES] == [name in ours for name in NAMES]
        assert not theirs or (ours[0], ours[-1]) == (theirs[0], theirs[-1])


def test_items_with_a_worker_are_found_by_its_name():
    stopped = SharedTuple((Holding("w0", 4),)).plus(Holding("w2", 5))
    assert stopped.named("w2") == Holding("w2", 5) and stopped.has("w0") and not stopped.has("w1")
    assert Holding("w2", 5) in stopped and Holding("w2", 6) not in stopped and None not in stopped
    assert stopped.without("w0") == (Holding("w2", 5),)


def test_it_travels_as_its_items():
    four = SharedTuple(NAMES[:4])
    back = pickle.loads(pickle.dumps(four.without("w1")))
    assert type(back) is SharedTuple and back == ("w0", "w2", "w3") and four == ("w0", "w1", "w2", "w3")
    assert len(pickle.dumps(SharedTuple(NAMES).without("w0").without("w1"))) < len(pickle.dumps(SharedTuple(NAMES)))


def test_it_joins_with_plain_tuples_to_plain_tuples():
    one, plain = SharedTuple(("w0",)), ("w1",)
    assert one + plain == ("w0", "w1") and plain + one == ("w1", "w0")
    assert type(plain + one) is type(one + one) is tuple
    assert one != ["w0"] and SharedTuple() == ()


def test_what_is_made_of_an_empty_one_is_not_kept_by_it():
    empty: SharedTuple[str] = SharedTuple()
    grown = empty.plus_all(NAMES)
    assert grown == tuple(NAMES) and empty == () and empty._line.items == []


def test_what_comes_and_goes_for_ever_takes_no_more_and_more_memory():
    crowd = SharedTuple(NAMES)
    for number in range(1000):
        crowd = crowd.plus(f"x{number}").without(f"x{number}")
    assert crowd == tuple(NAMES) and len(crowd._line.items) < 100
