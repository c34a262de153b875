"""Where the time of steps goes, on a device too: there the host asks for a step before it is done."""

from __future__ import annotations

import pytest

from disttrain.training.step.step_times import DeviceExchangeWatch, StepTimes


class Device:
    """One that does what was asked for when it is told to; its time goes on by as many milliseconds as that takes."""

    def __init__(self) -> None:
        self.now, self._asked = 0.0, []

    def compute(self, milliseconds: float) -> None:
        self._asked.append(lambda: setattr(self, "now", self.now + milliseconds))

    def catch_up(self) -> None:
        while self._asked:
            self._asked.pop(0)()

    def event(self) -> Device.Event:
        return Device.Event(self)

    class Event:
        def __init__(self, device: Device) -> None:
            self._device, self._at = device, None

        def record(self) -> None:
            self._device._asked.append(lambda: setattr(self, "_at", self._device.now))

        def query(self) -> bool:
            return self._at is not None

        def elapsed_time(self, later: Device.Event) -> float:
            assert self._at is not None and later._at is not None, "it has not happened yet"
            return later._at - self._at


def test_an_exchange_on_a_device_is_what_it_takes_there_whenever_the_host_asked_for_it():
    device, times = Device(), StepTimes()
    watch = DeviceExchangeWatch(times, device.event)
    for number in range(4):
        device.compute(70.0)  # a backward pass, which the host does not wait for
        began = watch.begin()
        device.compute(5.0 + number)
        watch.end(began)
        device.compute(10.0)
        if number == 1:
            device.catch_up()
    assert times.exchange_seconds == pytest.approx(0.011)  # of the first two; the others have not happened
    device.catch_up()
    watch.end(watch.begin())
    assert times.exchange_seconds == pytest.approx(0.026)
