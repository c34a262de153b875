"""Loader processes and streams on workers: what was read ahead is no state, and the traps that others fell into."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
import torch
from stream_cases import BATCH, KINDS, SAMPLES, Only, X, Y, loader, train_on
from thread_runs import AtEpoch, EveryBatch, V, driven, make_model
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

import disttrain as dt
from disttrain.errors import DataError
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner


@pytest.fixture(autouse=True)
def own_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are threads of this process here, and share its generators with the reader: they must not seed them while it reads."""
    monkeypatch.setattr("disttrain.training.step.forward.seed_generators", lambda key: None)


class Noisy(Dataset):
    """Samples by number that draw."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, i):
        return torch.from_numpy(X[i]) + np.random.rand(), Y[i]


def noisy(workers: int = 0, **arguments: Any) -> DataLoader:
    return DataLoader(Noisy(), BATCH, num_workers=workers, **({"shuffle": True} if "sampler" not in arguments else {}), **arguments)


def fitted(data: Any, callbacks: Any = None, epochs: int = 3, **arguments: Any) -> tuple[str, list[float]]:
    model = make_model()
    history = model.fit(data, epochs=epochs, verbose=0, callbacks=callbacks, **arguments).history
    return model.digest(), history["loss"]


def alone(data: Any, **arguments: Any) -> tuple[str, list[float]]:
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return fitted(data, **arguments)


def weighted() -> WeightedRandomSampler:
    return WeightedRandomSampler(torch.arange(1.0, SAMPLES + 1), 29)


@pytest.mark.parametrize("sampler", [None, weighted])
def test_loader_processes_of_each_worker_change_no_bit_and_neither_does_a_death(sampler):
    more = {} if sampler is None else {"sampler": sampler()}
    expected = alone(noisy(**more))
    with driven(2) as driver:
        assert fitted(noisy(1, **more), AtEpoch(0, lambda: driver.cluster.kill("w0"))) == expected
        assert driver.events("worker lost")


class Crash(dt.Callback):
    """Ends the driver at the first batch, or at the end of the epoch, at which a checkpoint is there."""

    def __init__(self, driver: Any, at: str) -> None:
        super().__init__()
        self.driver, self.at = driver, at

    def on_train_batch_end(self, batch, logs=None):
        if self.at == "batch" and self.driver.events("committed"):
            raise SystemError("the driver dies")

    def on_epoch_begin(self, epoch, logs=None):
        if self.at == "epoch" and epoch and self.driver.events("committed"):
            raise SystemError("the driver dies")


def test_a_save_before_every_loader_process_has_given_something_and_another_number_of_them_afterwards():
    url, expected = f"memory://{uuid.uuid4().hex}", alone(noisy())
    with driven(2, url=url, every="1steps") as first, pytest.raises(SystemError):
        fitted(noisy(2), Crash(first, "batch"))
    with driven(1, url=url, every="1steps") as second:
        assert fitted(noisy(1), EveryBatch()) == expected
        assert second.resume is not None


@pytest.mark.parametrize("kind", ["an iterable dataset", "weighted", "a generator of its own", "shuffles itself"])
def test_a_save_at_the_exact_end_of_an_epoch_is_gone_on_from_with_the_next_one(kind):
    url = f"memory://{uuid.uuid4().hex}"
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train_on(kind)
    with driven(2, url=url, every="epoch") as first, pytest.raises(SystemError):
        train_on(kind, Crash(first, "epoch"), epochs=3)
    with driven(2, url=url, every="epoch") as second:
        assert train_on(kind, EveryBatch()) == expected
        assert second.resume is not None


def test_the_loader_s_drop_last_holds_behind_a_sampler():
    data = loader(sampler=weighted(), drop_last=True)
    batches: list[int] = []

    class Count(dt.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)

    with driven(2):
        fitted(data, Count(), epochs=1)
    assert batches == [0, 1, 2]  # 29 samples in batches of 8


def test_a_generator_that_is_under_way_is_trained_on_once_by_workers_of_which_one_dies():
    x, _ = KINDS["a generator function"]()
    expected = alone(x, epochs=1)
    with driven(2, FaultPlan().kill("w1", 2)):
        assert fitted(x(), epochs=1) == expected


def test_a_generator_that_is_under_way_cannot_go_back_far_and_says_so():
    with driven(2) as driver:

        class KillAll(dt.Callback):
            killed = False

            def on_train_batch_end(self, batch, logs=None):
                if batch == 30 and not KillAll.killed:
                    KillAll.killed = True
                    for worker in list(driver.cluster.workers):
                        driver.cluster.kill(worker)

        with pytest.raises(DataError, match="cannot be begun again for steps that are done once more"):
            fitted(((X[:8], Y[:8]) for _ in range(40)), KillAll(), epochs=1)


def test_a_generator_that_validates_must_be_one_that_can_be_begun_again():
    def endless():
        while True:
            yield X[:8], Y[:8]

    with driven(2), pytest.raises(DataError, match="validation_data=make_batches"):
        fitted(X, y=Y, validation_data=endless(), validation_steps=1)


def test_evaluate_and_predict_on_streams_survive_a_death():
    model, halves = make_model(), Only([(X[:9], Y[:9]), (X[9:20], Y[9:20]), (X[20:23], Y[20:23])])
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        evaluated, predicted = model.evaluate(halves, verbose=0), model.predict(halves, verbose=0)
    for tick in (0, 2):
        with driven(3, FaultPlan().kill("w1", tick)):
            assert model.evaluate(halves, verbose=0) == evaluated
        with driven(3, FaultPlan().kill("w1", tick, "after")):
            assert model.predict(halves, verbose=0).tobytes() == predicted.tobytes()


def test_what_a_stream_raises_is_raised_in_the_script_as_it_is():
    class Broken(IterableDataset):
        def __iter__(self):
            yield from [(torch.zeros(6), 0)] * 20
            raise LookupError("the file ends here")

    with driven(2), pytest.raises(LookupError, match="the file ends here") as raised:
        fitted(Broken(), batch_size=8)
    assert "in __iter__" in "".join(str(entry) for entry in raised.traceback) or raised.traceback[-1].name == "__iter__"


def test_a_call_after_one_whose_data_failed_finds_its_workers():
    class Broken(IterableDataset):
        def __iter__(self):
            yield from [(torch.zeros(6), 0)] * 20
            raise LookupError("the file ends here")

    with driven(2):
        with pytest.raises(LookupError):
            fitted(Broken(), batch_size=8)
        fitted(X, y=Y, batch_size=8, epochs=1)


def test_an_epoch_that_a_callback_ends_early_begins_the_next_pass_from_its_start():
    class Early(dt.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1 and self.epoch == 0:
                self.model.stop_training = True

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

    x, arguments = KINDS["an iterable dataset"]()
    expected = alone(x, callbacks=[Early()], **arguments)
    with driven(2):
        assert fitted(x, [Early()], **arguments) == expected


def test_a_worker_killed_between_epochs_of_a_stream_costs_nothing():
    x, arguments = KINDS["an iterable dataset"]()
    expected = alone(x, **arguments)
    with driven(3) as driver:
        assert fitted(x, AtEpoch(1, lambda: driver.cluster.kill("w2")), **arguments) == expected


# -- samples that cannot be made ----------------------------------------------------------------------------------------------------------


class Damaged(Dataset):
    """Three samples cannot be read."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, i):
        if i in (3, 11, 20):
            raise OSError(f"picture {i} is cut short")
        return torch.from_numpy(X[i]), Y[i]


def damaged(workers: int = 0) -> DataLoader:
    return DataLoader(Damaged(), BATCH, shuffle=True, num_workers=workers)


def test_samples_that_cannot_be_made_are_left_out_alike_by_any_number_of_workers():
    with pytest.warns(UserWarning, match=r"sample \d+ could not be made and is left out: OSError: picture \d+ is cut short"):
        expected = alone(damaged(), on_bad_sample="skip")
    for workers, faults in ((1, FaultPlan()), (3, FaultPlan().kill("w1", 2))):
        with driven(workers, faults) as driver:
            assert fitted(damaged(), on_bad_sample="skip") == expected
            skipped = [event["number"] for event in driver.events("sample left out")]
            assert sorted(skipped) == sorted([3, 11, 20] * 3) and len(driver.events("worker lost")) == len(faults.faults)
    with driven(2):
        assert fitted(damaged(2), on_bad_sample="skip") == expected


def test_what_was_left_out_stands_in_the_checkpoint_and_stays_so_when_the_run_goes_on():
    url = f"memory://{uuid.uuid4().hex}"
    with pytest.warns(UserWarning, match="could not be made"):
        expected = alone(damaged(), on_bad_sample="skip")

    class AfterTheFirstEpoch(dt.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise SystemError("the driver dies")

    with driven(2, url=url, every="1steps") as first, pytest.raises(SystemError):
        fitted(damaged(), AfterTheFirstEpoch(), on_bad_sample="skip")
    assert len(first.events("sample left out")) == 3
    with driven(2, url=url, every="1steps") as second:
        assert fitted(damaged(), on_bad_sample="skip") == expected
        assert len(second.resume.extra["data"]["skipped"]) >= 3


def test_a_sample_that_cannot_be_made_is_raised_and_named_unless_told_otherwise():
    with driven(2), pytest.raises(OSError, match="is cut short") as raised:
        fitted(damaged())
    assert raised.value.__notes__[0].startswith("raised by sample ")
    with pytest.raises(DataError, match="on_bad_sample='skip' for a array"):
        fitted(X, y=Y, on_bad_sample="skip")
    with pytest.raises(DataError, match="on_bad_sample='ignore'"):
        fitted(X, y=Y, on_bad_sample="ignore")
