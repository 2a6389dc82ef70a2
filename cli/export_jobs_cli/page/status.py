"""What the page shows of the stack as a whole: its sweeps and its dead letters."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.aws.clock import now_ms
from export_jobs.events.wording import span
from export_jobs.model.records import SandboxState

from export_jobs_cli import output
from export_jobs_cli.last_sweep import WINDOW_MINUTES, is_known, last_sweep
from export_jobs_cli.stack import DeployedSystem, refusal, unreachable

OLD_MS: Final = 60_000
"""The metrics and the queue are asked again after that time: each call costs something."""
_IMPATIENT: Final = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})
"""A page does not wait long for what the tables do not say."""


@dataclass(frozen=True)
class StackStatus:
    """When each sandbox was last swept, and how many dead letters there are.

    `swept_at` lacks the sandboxes of which it is unknown, and has None for those that were not
    swept lately. `dead_letters` is None if that is unknown, which `problems` explain.
    """

    swept_at: Mapping[str, int | None]
    dead_letters: int | None
    problems: Sequence[str] = ()

    def sweeps_in_words(self, sandbox: str, state: SandboxState | None, *, now: int) -> str:
        if problem := self.problem_of_sweeps(sandbox, state, now=now):
            return problem
        changed = f"last change {output.moment(state.swept_at)[5:16]} UTC" if state else ""
        swept_at = self.swept_at.get(sandbox)
        return f"{_ago(now - swept_at)}; {changed}" if swept_at else changed

    def problem_of_sweeps(
        self, sandbox: str, state: SandboxState | None, *, now: int
    ) -> str | None:
        if state is None:
            return "it has never been swept, so there is nothing to show yet"
        if state.failing_since:
            return (
                f"sweeps have failed for {span(now - state.failing_since)}, "
                f"since {output.moment(state.failing_since)} UTC"
            )
        if sandbox in self.swept_at and self.swept_at[sandbox] is None:
            return f"no successful sweep in the last {WINDOW_MINUTES} minutes"
        return None


def _ago(age_ms: int) -> str:
    """In whole minutes: a page that says something else every second is sent every time."""
    minutes = age_ms // 60_000
    return f"{span(minutes * 60_000)} ago" if minutes > 0 else "less than a minute ago"


class StatusReader:
    """Asks CloudWatch and SQS, and keeps the answers for a minute. Thread-safe."""

    def __init__(self, system: DeployedSystem, sandboxes: Sequence[str]) -> None:
        self._system = system
        self._sandboxes = sandboxes
        self._queues = system.client("sqs", _IMPATIENT)
        self._lock = threading.Lock()
        self._last: tuple[int, StackStatus] | None = None

    def read(self) -> StackStatus:
        """What AWS refuses is left out, with the reason: the tables say the most."""
        with self._lock:
            now = now_ms()
            if self._last is None or abs(now - self._last[0]) > OLD_MS:
                self._last = (now, self._read())
            return self._last[1]

    def _read(self) -> StackStatus:
        problems: list[str] = []
        swept_at: dict[str, int | None] = {}
        dead_letters = None
        try:
            for sandbox in self._sandboxes if is_known(self._system) else ():
                swept_at[sandbox] = last_sweep(self._system, sandbox, _IMPATIENT)
        except (ClientError, BotoCoreError) as error:
            problems.append(f"when sweeps ran is unknown: {_reason(error)}")
        try:
            dead_letters = self._dead_letters()
        except (ClientError, BotoCoreError) as error:
            problems.append(f"how many dead letters there are is unknown: {_reason(error)}")
        return StackStatus(swept_at, dead_letters, problems)

    def _dead_letters(self) -> int:
        """The approximate number of messages in the dead-letter queue of requests."""
        answer = self._queues.get_queue_attributes(
            QueueUrl=self._system.outputs["DeadLetterQueueUrl"],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )
        return sum(int(count) for count in answer["Attributes"].values())


def _reason(error: ClientError | BotoCoreError) -> str:
    return refusal(error) if isinstance(error, ClientError) else "; ".join(unreachable(error))
