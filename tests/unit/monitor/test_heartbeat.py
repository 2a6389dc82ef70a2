"""When the heartbeat is called, and that nothing that comes of it can fail a sweep."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from export_jobs.contract.errors import RetryLater
from export_jobs.monitor.heartbeat import EVERY_MS, Heartbeat

URL = "https://hc-ping.example/planted-7f3a"


@dataclass
class Receiver:
    """Counts the calls, and fails with `error`, if there is one."""

    error: Exception | None = None
    beats: int = 0

    def beat(self) -> None:
        self.beats += 1
        if self.error:
            raise self.error


@dataclass
class Case:
    """A heartbeat with a clock that the test sets."""

    receiver: Receiver = field(default_factory=Receiver)
    now: int = 1_800_000_000_000

    def __post_init__(self) -> None:
        self.heartbeat = Heartbeat(self.receiver, clock=lambda: self.now)

    def beats_after(self, *minutes: float) -> list[int]:
        """The calls so far, after good sweeps at these times, counted from now."""
        began, counted = self.now, []
        for minute in minutes:
            self.now = began + int(minute * 60_000)
            self.heartbeat.after_good_sweeps()
            counted.append(self.receiver.beats)
        return counted


def test_it_is_called_at_most_every_five_minutes() -> None:
    """At once in a new process; five minutes after the last call and not before."""
    assert EVERY_MS == 5 * 60_000
    assert Case().beats_after(0, 1, 4.99, 5, 6, 9.99, 10.01) == [1, 1, 1, 2, 2, 2, 3]


def test_a_call_that_fails_is_not_repeated_earlier() -> None:
    """A receiver that hangs would hold up every run."""
    assert Case(Receiver(RetryLater("it hangs"))).beats_after(0, 1, 5) == [1, 1, 2]


def test_a_clock_that_is_set_back_holds_up_no_call() -> None:
    """Otherwise the next one might be hours away, and the monitor outside would raise an alarm."""
    assert Case().beats_after(60, 0, 1, 5) == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RetryLater("its URL returned HTTP 500"), "not received: its URL returned HTTP 500"),
        (ValueError(f"no such host in {URL}"), "failed: unexpected ValueError"),
    ],
)
def test_no_failure_leaves_more_than_one_warning(
    caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    """It is raised to nobody; an unexpected one may have the URL in its text, which is left out."""
    with caplog.at_level(logging.DEBUG):
        Case(Receiver(error)).beats_after(0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(said)
    assert record.exc_info is None
    assert "planted" not in caplog.text
