import io
import sys
import types

import pytest

from disttrain.callbacks import CallbackList, LambdaCallback, ProgbarLogger
from disttrain.callbacks.progress_bar import ProgressBar, active_bar, note
from disttrain.testing.fake_clock import FakeClock


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and shows what is on its lines."""

    def isatty(self):
        return True

    def lines(self):
        return [line.rpartition("\x1b[K")[2] for line in self.getvalue().split("\n")]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def drive(stream, clock, verbose=1, epochs=2, batches=(0, 1, 3), step_s=1.0):
    bar = ProgbarLogger(stream=stream, clock=clock)
    listed = CallbackList(bar, params={"verbose": verbose, "epochs": epochs, "steps": 4}, add_history=False)
    listed.on_train_begin()
    for epoch in range(epochs):
        listed.on_epoch_begin(epoch)
        for batch in batches:
            clock.advance(step_s)
            listed.sample_batch(batch, {"accuracy": 0.41, "loss": 1.7})
        listed.on_epoch_end(epoch, {"accuracy": 0.5, "loss": 1.5, "val_loss": 0.0005})
    listed.on_train_end()


def test_a_terminal_shows_the_bar_of_each_epoch():
    stream = Terminal()
    drive(stream, FakeClock())
    assert stream.lines() == [
        "Epoch 1/2",
        "4/4 ━━━━━━━━━━━━━━━━━━━━ 3s 667ms/step - accuracy: 0.5000 - loss: 1.5000 - val_loss: 5.0000e-04",
        "Epoch 2/2",
        "4/4 ━━━━━━━━━━━━━━━━━━━━ 3s 667ms/step - accuracy: 0.5000 - loss: 1.5000 - val_loss: 5.0000e-04",
        "",
    ]


def test_within_an_epoch_the_seconds_are_those_left():
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(60, stream=stream, clock=clock)
    bar.start()
    clock.advance(9.0)  # the first step is slow and says little of the others
    bar.update(2, {"loss": 1.7})
    clock.advance(0.58)
    bar.update(12, {"accuracy": 0.41, "loss": 1.7})
    assert stream.lines()[-1] == "12/60 ━━━━──────────────── 3s 58ms/step - accuracy: 0.4100 - loss: 1.7000"
    bar.finish()


def test_elsewhere_a_short_epoch_has_a_heading_and_one_line_at_its_end():
    stream = io.StringIO()
    drive(stream, FakeClock(), epochs=2, step_s=0.75)
    line = "\n4/4 ━━━━━━━━━━━━━━━━━━━━ 2s 500ms/step - accuracy: 0.5000 - loss: 1.5000 - val_loss: 5.0000e-04\n"
    assert stream.getvalue() == f"Epoch 1/2{line}Epoch 2/2{line}"


def test_elsewhere_an_epoch_of_an_hour_has_a_line_every_few_seconds_and_later_every_half_minute():
    stream, clock = io.StringIO(), FakeClock()
    bar = ProgressBar(3600, "Epoch 1/2", stream=stream, clock=clock)
    bar.start()
    seconds = []
    for second in range(1, 3601):
        clock.advance(1.0)
        before = stream.tell()
        bar.update(second, {"loss": 1.0})
        if stream.tell() > before:
            seconds.append(second)
    assert seconds == [*range(3, 300, 3), *range(327, 3601, 30)]
    assert "\n   3/3600 ──────────────────── 59:57 left 1s/step - loss: 1.0000\n" in stream.getvalue() and "\r" not in stream.getvalue()
    bar.finish()


def test_validation_within_an_epoch_is_told_of_and_is_no_part_of_its_last_line():
    stream, clock = io.StringIO(), FakeClock()
    bar = ProgbarLogger(stream=stream, clock=clock)
    listed = CallbackList(bar, params={"verbose": 1, "epochs": 1, "steps": 4}, add_history=False)
    listed.on_train_begin()
    listed.on_epoch_begin(0)
    listed.sample_batch(1, {"loss": 1.7})
    clock.advance(6.0)
    listed.sample_validation(2, 30, {"loss": 1.5, "val_loss": 1.25})
    listed.on_epoch_end(0, {"loss": 1.5, "val_loss": 1.0})
    listed.on_train_end()
    shown = stream.getvalue().splitlines()
    assert shown[0].endswith(" - loss: 1.5000 - val_loss: 1.2500 - validation 3/30") and shown[1].endswith(" - val_loss: 1.0000")


def test_verbose_two_is_one_plain_line_for_an_epoch_whatever_it_takes_on_a_terminal_too():
    for stream in (Terminal(), io.StringIO()):
        drive(stream, FakeClock(), verbose=2, epochs=2, batches=(0, 1, *[3] * 97))
        line = " - 4/4 - 1:39 - 33s/step - accuracy: 0.5000 - loss: 1.5000 - val_loss: 5.0000e-04\n"
        assert stream.getvalue() == f"Epoch 1/2{line}Epoch 2/2{line}"


@pytest.mark.parametrize("make", [Terminal, io.StringIO])
def test_what_other_callbacks_print_stands_below_the_heading_and_on_lines_of_its_own(make):
    stream, clock = make(), FakeClock()
    printing = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: print("begins", file=stream), on_epoch_end=lambda epoch, logs: print("ends", file=stream)
    )
    listed = CallbackList([printing, ProgbarLogger(stream=stream, clock=clock)], params={"verbose": 1, "epochs": 2, "steps": 4})
    listed.on_epoch_begin(0)
    clock.advance(1.0)
    listed.sample_batch(1, {"loss": 1.7})
    listed.on_epoch_end(0, {"loss": 1.5})
    lines = [line.rpartition("\x1b[K")[2] for line in stream.getvalue().rstrip("\n").split("\n")]
    assert lines[:3] == ["Epoch 1/2", "begins", "ends"] and lines[3].startswith("4/4 ━") and len(lines) == 4


class Shell:
    """A notebook's, that keeps what it is told to show."""

    def __init__(self):
        self.display_pub, self.outputs = self, {}

    def publish(self, data, metadata, *, transient, update):
        assert update == (transient["display_id"] in self.outputs)
        self.outputs.setdefault(transient["display_id"], []).append(data)


@pytest.fixture
def shell(monkeypatch):
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    return shell


class OutStream(io.StringIO):
    __module__ = "ipykernel.iostream"


def test_in_a_notebook_each_epoch_is_one_output_that_moves(shell):
    stream = OutStream()
    drive(stream, FakeClock(), epochs=2)
    assert stream.getvalue() == "" and len(shell.outputs) == 2
    first = next(iter(shell.outputs.values()))
    assert [data["text/plain"].splitlines()[1][:3] for data in first] == ["0/4", "1/4", "2/4", "4/4", "4/4"]
    assert first[-1]["text/plain"].startswith("Epoch 1/2\n4/4 ━━━━") and "<pre" in first[-1]["text/html"]


def test_in_a_notebook_verbose_two_prints_and_so_does_what_goes_elsewhere(shell):
    stream, elsewhere = OutStream(), io.StringIO()
    drive(stream, FakeClock(), verbose=2)
    drive(elsewhere, FakeClock(), step_s=0.75)
    assert stream.getvalue().count("\n") == 2 and elsewhere.getvalue().count("\n") == 4 and not shell.outputs


def test_verbose_zero_prints_nothing():
    stream = io.StringIO()
    drive(stream, FakeClock(), verbose=0)
    assert stream.getvalue() == ""


def test_a_note_gets_its_own_line_and_the_bar_comes_back_below():
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(10, "Epoch 1/5", stream=stream, clock=clock)
    bar.start()
    bar.update(5)
    drawn = stream.lines()[-1]
    note("[disttrain] worker b died; 3 go on")
    assert stream.lines() == ["Epoch 1/5", "[disttrain] worker b died; 3 go on", drawn]
    bar.finish()


def test_without_a_terminal_a_note_is_a_plain_line():
    stream = io.StringIO()
    bar = ProgressBar(10, stream=stream, clock=FakeClock())
    bar.start()
    bar.update(5)
    bar.note("saved")
    assert stream.getvalue() == "saved\n"
    bar.finish()


def test_the_bar_is_active_from_its_start_to_its_end():
    assert active_bar() is None
    bar = ProgressBar(1, stream=io.StringIO(), clock=FakeClock())
    assert active_bar() is None
    bar.start()
    assert active_bar() is bar
    bar.finish()
    assert active_bar() is None


def test_of_two_bars_the_one_that_goes_on_is_active_when_the_other_ends():
    first, second = (ProgressBar(1, stream=io.StringIO(), clock=FakeClock()) for _ in range(2))
    first.start()
    second.start()  # in another thread, say
    assert active_bar() is second
    second.finish()
    assert active_bar() is first
    second.start()
    first.stop()
    assert active_bar() is second
    del second  # its training ended without a word
    assert active_bar() is None


def test_a_note_without_a_bar_is_printed(capsys):
    note("hello")
    assert capsys.readouterr().out == "hello\n"


def test_updates_that_come_too_fast_or_late_draw_nothing():
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(10, stream=stream, clock=clock)
    bar.start()
    bar.update(5)
    drawn = stream.getvalue()
    clock.advance(0.01)
    bar.update(6)
    clock.advance(1.0)
    bar.update(3)  # a step older than the one shown
    assert stream.getvalue() == drawn
    bar.finish()


def test_a_line_longer_than_the_terminal_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    bar = ProgressBar(10, stream=stream, clock=FakeClock())
    bar.start()
    bar.update(1, {f"metric_{number}": 0.5 for number in range(9)})
    assert len(stream.lines()[-1]) == 39 and stream.lines()[-1].endswith("…")
    bar.finish()


def test_an_unknown_number_of_steps_is_found_at_the_end():
    stream, clock = Terminal(), FakeClock()
    bar = ProgressBar(None, stream=stream, clock=clock)
    bar.start()
    clock.advance(90.0)
    bar.update(3)
    assert stream.lines()[-1] == "3/Unknown 1:30 30s/step"
    bar.finish()
    assert stream.lines()[-2] == "3/3 ━━━━━━━━━━━━━━━━━━━━ 1:30 30s/step"


def test_training_that_stops_within_an_epoch_leaves_a_whole_line_behind():
    stream, clock = Terminal(), FakeClock()
    bar = ProgbarLogger(stream=stream, clock=clock)
    bar.set_params({"verbose": 1, "epochs": 1, "steps": 4})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(0, {})
    bar.on_train_end()
    assert stream.getvalue().endswith("\n") and active_bar() is None


def test_evaluation_within_fit_is_silent_and_alone_has_a_bar():
    stream, bar = io.StringIO(), None
    bar = ProgbarLogger(stream=stream, clock=FakeClock())
    bar.set_params({"verbose": 1, "epochs": 1, "steps": 4})
    bar.on_train_begin()
    bar.on_test_begin()
    bar.on_test_end({"loss": 1.0})
    bar.on_train_end()
    assert stream.getvalue() == ""
    bar.on_test_begin()
    bar.on_test_batch_end(0, {"loss": 1.0})
    bar.on_test_end({"loss": 1.0})
    assert stream.getvalue() == "4/4 ━━━━━━━━━━━━━━━━━━━━ 0s 0s/step - loss: 1.0000\n"


def test_a_stream_that_knows_ascii_only_gets_ascii():
    raw = io.BytesIO()
    bar = ProgressBar(2, stream=io.TextIOWrapper(raw, encoding="ascii", write_through=True), clock=FakeClock())
    bar.start()
    bar.finish({"loss": 1.0})
    assert raw.getvalue() == b"2/2 ==================== 0s 0s/step - loss: 1.0000\n"
