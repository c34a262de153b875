import copy
import pickle

import pytest

from disttrain.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    Goodput,
    GradientNorms,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    RemoteMonitor,
    SwapEMAWeights,
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(monitor=3), r"EarlyStopping\(monitor=3\): expected a name in the logs"),
        (lambda: EarlyStopping(patience=-1), r"patience=-1\): expected a whole number, 0 or more"),
        (lambda: EarlyStopping(patience=1.5), r"patience=1.5\): expected a whole number"),
        (lambda: EarlyStopping(patience=True), r"patience=True\): expected a whole number"),
        (lambda: EarlyStopping(min_delta="0.1"), r"min_delta='0.1'\): expected a number"),
        (lambda: EarlyStopping(baseline=float("nan")), r"baseline=nan\): expected a number, or None"),
        (lambda: EarlyStopping(start_from_epoch=-2), r"start_from_epoch=-2\)"),
        (lambda: EarlyStopping(verbose="loud"), r"verbose='loud'\)"),
        (lambda: ReduceLROnPlateau(factor=1), r"factor=1\): expected a number from 0 to below 1"),
        (lambda: ReduceLROnPlateau(factor=-0.5), r"factor=-0.5\)"),
        (lambda: ReduceLROnPlateau(min_lr=-1), r"min_lr=-1\): expected a learning rate"),
        (lambda: ReduceLROnPlateau(cooldown=0.5), r"cooldown=0.5\)"),
        (lambda: ModelCheckpoint(3), r"filepath=3\): expected a path or URL"),
        (
            lambda: ModelCheckpoint("m.keras", save_freq=0),
            r"save_freq=0\): Invalid value, Unrecognized save_freq. Expected 'epoch' or a number of batches",
        ),
        (lambda: ModelCheckpoint("m.keras", save_freq="batch"), r"save_freq='batch'\)"),
        (lambda: ModelCheckpoint("m.keras", initial_value_threshold="x"), r"initial_value_threshold='x'\)"),
        (lambda: BackupAndRestore(""), r"backup_dir=''\): Empty `backup_dir` argument passed, expected a path"),
        (
            lambda: BackupAndRestore("b", save_freq=False),
            r"save_freq=False\): Invalid value, Unrecognized save_freq. Expected 'epoch' or a number of batches",
        ),
        (lambda: CSVLogger(None), r"filename=None\): expected a path or URL"),
        (lambda: CSVLogger("a.csv", separator=", "), r"separator=', '\): expected one character"),
        (lambda: LearningRateScheduler(0.1), r"schedule=0.1\): expected a function, called as schedule\(epoch, learning_rate\)"),
        (lambda: LambdaCallback(on_epoch_end=3), r"on_epoch_end=3\): expected a function, called as on_epoch_end\(epoch, logs\)"),
        (lambda: LambdaCallback(on_train_end=3), r"called as on_train_end\(logs\)"),
        (lambda: LambdaCallback(on_epch_end=print), r"no such hook.\n  expected  one of on_epoch_end, "),
        (lambda: RemoteMonitor("file:///etc/passwd"), r"root='file:///etc/passwd'\): expected a URL such as"),
        (lambda: RemoteMonitor(timeout_s=0), r"timeout_s=0\): expected seconds, above 0"),
        (lambda: GradientNorms(freq=-1), r"freq=-1\)"),
        (lambda: Goodput(verbose=-1), r"verbose=-1\)"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_enters(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(patiance=3), r"unexpected keyword argument 'patiance'\n  expected  one of patience, "),
        (lambda: ModelCheckpoint("m.keras", save_best=True), r"'save_best'\n  expected  one of save_best_only, "),
        (lambda: SwapEMAWeights(swap=True), r"'swap'\n  expected  one of swap_on_epoch, nearest first"),
    ],
)
def test_a_misspelt_argument_is_answered_with_the_nearest_names(make, words):
    with pytest.raises(TypeError, match=words):
        make()


class Own(Callback):
    def __init__(self, factor, *, name=None, **rest):
        super().__init__()
        self.factor, self.name, self.rest = factor, name, rest


def test_a_callback_of_ones_own_takes_what_its_constructor_takes_and_can_be_copied():
    own = Own(2, name="n", other=3)
    assert (own.factor, own.name, own.rest) == (2, "n", {"other": 3})
    assert copy.deepcopy(own).rest == {"other": 3} and pickle.loads(pickle.dumps(own)).factor == 2


@pytest.mark.parametrize("make", [lambda mode: EarlyStopping(mode=mode), lambda mode: ModelCheckpoint("m.keras", mode=mode)])
def test_an_unknown_mode_is_a_warning_and_auto_as_in_keras(make):
    with pytest.warns(UserWarning, match="mode 'maximum' is unknown, fallback to auto mode. There are max, min, auto"):
        assert make("maximum").mode == "auto"
