"""Ticks: what a call does, one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from disttrain.data import BatchPlan
from disttrain.training.program import Kind, Program

TRAIN, VALIDATE = (Kind.TRAIN, BatchPlan(6, 3)), (Kind.VALIDATE, BatchPlan(2, 2))


def kinds(program: Program) -> list[str]:
    return [program.at(tick).kind.value for tick in range(program.ticks + 1)]


def test_an_epoch_is_its_steps_its_validation_and_a_boundary():
    assert kinds(Program((TRAIN, VALIDATE), epochs=1)) == ["train", "train", "validate", "epoch boundary", "end"]


def test_validation_comes_every_so_many_epochs_or_in_those_listed():
    program = Program((TRAIN, VALIDATE), epochs=3, validation_freq=2)
    assert [program.validates(epoch) for epoch in range(3)] == [False, True, False]
    assert kinds(program).count("validate") == 1
    assert kinds(Program((TRAIN, VALIDATE), epochs=3, validation_freq=[1, 3])).count("validate") == 2


def test_every_batch_puts_a_boundary_after_each_step():
    program = Program((TRAIN, VALIDATE), every_batch=frozenset({Kind.TRAIN}))
    assert kinds(program) == ["train", "batch boundary"] * 2 + ["validate", "epoch boundary", "end"]
    assert [program.at(t).step for t in range(4)] == [0, 0, 1, 1]


def test_stopping_within_an_epoch_goes_on_after_the_phase():
    program = Program((TRAIN, VALIDATE), epochs=2, every_batch=frozenset({Kind.TRAIN}))
    assert program.at(program.after_phase(program.at(1))).kind is Kind.VALIDATE


def test_evaluate_is_steps_and_an_end():
    assert kinds(Program((VALIDATE,), boundaries=False)) == ["validate", "end"]


def test_initial_epoch_skips_what_was_done():
    program = Program((TRAIN,), initial_epoch=2, epochs=4)
    assert program.at(0).epoch == 2 and program.ticks == 6


def test_a_boundary_lies_before_validation_where_it_is_asked_for():
    program = Program((TRAIN, VALIDATE), epochs=2, validation_freq=2, before_validation=True)
    assert kinds(program) == [*["train"] * 2, "epoch boundary", *["train"] * 2, "test boundary", "validate", "epoch boundary", "end"]


@given(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_every_step_of_training_is_found_by_its_epoch_and_number(initial, more, per_hook, every, before):
    phases = frozenset({Kind.TRAIN, Kind.VALIDATE} if every else ())
    program = Program((TRAIN, VALIDATE), initial, initial + more, 1, phases, batches_per_hook=per_hook, before_validation=before)
    for tick in range(program.ticks):
        position = program.at(tick)
        if position.kind is Kind.TRAIN:
            assert program.tick_of(position.epoch, position.step) == tick
    behind = program.at(program.tick_of(initial, 99))
    assert behind.kind is (Kind.TEST_BOUNDARY if before else Kind.VALIDATE) and behind.epoch == initial
    assert program.tick_of(initial + more, 0) == program.ticks


@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_positions_go_on_without_gaps(initial, more, freq, every):
    program = Program(
        (TRAIN, VALIDATE),
        initial_epoch=initial,
        epochs=initial + more,
        validation_freq=freq,
        every_batch=frozenset({Kind.TRAIN} if every else ()),
    )
    boundaries = [p.epoch for t in range(program.ticks) if (p := program.at(t)).kind is Kind.EPOCH_BOUNDARY]
    assert boundaries == list(range(initial, initial + more))
    assert program.at(program.ticks).kind is Kind.END
