"""Two threads of one process train at once: each gives what it gives alone."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import disttrain as dt
from disttrain import layers, seeds, watch
from disttrain.training.local import runner

X = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 24)


def in_threads(*actions: Any) -> list[Any]:
    """The results of the actions, at once."""
    results: list[Any] = [None] * len(actions)

    def run(number: int) -> None:
        try:
            results[number] = actions[number]()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def made() -> dt.Sequential:
    model = dt.Sequential([dt.Input((5,)), layers.Dense(6, activation="relu"), layers.Dropout(0.5), layers.Dense(3, activation="softmax")])
    model.compile(dt.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


class Meets(dt.Callback):
    """Waits for the other training after each batch and at each epoch's end, where it trains a helper: a call of a hook's own."""

    def __init__(self, helper: dt.Sequential, meet: Any) -> None:
        super().__init__()
        self.helper, self.meet = helper, meet

    def on_train_batch_end(self, batch, logs=None):
        self.meet()

    def on_epoch_end(self, epoch, logs=None):
        self.meet()
        self.helper.fit(X, Y, batch_size=8, epochs=1, verbose=0)
        self.meet()


def test_fits_of_two_threads_that_take_turns_give_the_bits_that_each_gives_alone():
    def train(model: dt.Sequential, helper: dt.Sequential, meet: Any, begun: Any = lambda: None) -> tuple[str, str]:
        callbacks = [Meets(helper, meet), dt.callbacks.LambdaCallback(on_train_begin=lambda logs: begun())]
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
        return model.digest(), helper.digest()

    def models() -> list[dt.Sequential]:
        dt.set_random_seed(5)
        dt.clear_session()
        return [made() for _ in range(4)]

    with runner.installed(runner.LocalRunner(runner._InProcess())):
        first, first_helper, second, second_helper = models()
        alone = [train(first, first_helper, lambda: None), train(second, second_helper, lambda: None)]
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        first, first_helper, second, second_helper = models()
        barrier, begun = threading.Barrier(2, timeout=300), threading.Event()

        def later() -> tuple[str, str]:
            assert begun.wait(300)  # the first call of the script is the first fit, as above
            return train(second, second_helper, barrier.wait)

        together = in_threads(lambda: train(first, first_helper, barrier.wait, begun.set), later)
    assert together == alone


def test_a_fit_of_another_thread_while_hooks_run_is_a_call_of_the_script_not_of_the_hooks():
    numbers = []

    class Starts(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            numbers.append(runner.current().next_call())
            numbers.extend(in_threads(runner.current().next_call))

    with runner.installed(runner.LocalRunner(runner._InProcess())):
        made().fit(X, Y, batch_size=8, epochs=1, verbose=0, callbacks=[Starts()])
        assert numbers[0] > 1000 and numbers[1:] == [1]


def test_threads_that_set_a_seed_build_what_each_builds_alone():
    def build() -> bytes:
        dt.set_random_seed(11)
        return b"".join(weight.tobytes() for weight in made().get_weights())

    dt.set_random_seed(3)
    barrier = threading.Barrier(2, timeout=300)

    def slowly() -> list[int]:
        dt.set_random_seed(11)
        keys = []
        for _ in range(20):
            barrier.wait()
            keys.append(seeds.next_key("weight"))
        return keys

    first, second = in_threads(slowly, slowly)
    assert first == second and len(set(first)) == 20
    assert seeds.random_seed() == 3  # the main thread's is its own
    assert in_threads(seeds.random_seed) == [3]  # and that of threads which set none
    assert len(set(in_threads(build, build))) == 1


def test_keys_that_two_threads_draw_from_the_process_are_all_different():
    dt.set_random_seed(3)
    drawn = in_threads(*[lambda: [seeds.next_key("weight") for _ in range(500)]] * 4)
    assert len({key for keys in drawn for key in keys}) == 2000


def test_what_one_thread_watches_no_other_thread_triggers():
    looked: list[str] = []
    watch.on_read(looked.append)
    try:
        in_threads(watch.sync_before_read, lambda: watch.on_read(None))
        assert looked == []
        watch.sync_before_read("slots")
        assert looked == ["slots"]
    finally:
        watch.on_read(None)
