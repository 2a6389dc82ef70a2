"""What the page shows of the stack as a whole: its sweeps and its dead letters."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.aws.clock import now_ms
from export_jobs.events.wording import span
from export_jobs.model.records import SandboxState

from export_jobs_cli import output
from export_jobs_cli.last_sweep import WINDOW_MINUTES, is_known, last_sweep
from export_jobs_cli.stack import DeployedSystem, refusal, unreachable

OLD_MS: Final = 60_000
"""The metrics and the queue are asked again after that time: each call costs something."""


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
        ago = f"{span(max(0, now - swept_at))} ago; " if swept_at else ""
        return f"{ago}{changed}"

    def problem_of_sweeps(
        self, sandbox: str, state: SandboxState | None, *, now: int
    ) -> str | None:
        if state is None:
            return "it was never swept"
        if state.failing_since:
            return (
                f"sweeps have failed for {span(now - state.failing_since)}, "
                f"since {output.moment(state.failing_since)} UTC"
            )
        if sandbox in self.swept_at and self.swept_at[sandbox] is None:
            return f"no successful sweep in the last {WINDOW_MINUTES} minutes"
        return None


class StatusReader:
    """Asks CloudWatch and SQS, and keeps the answers for a minute. Thread-safe."""

    def __init__(self, system: DeployedSystem, sandboxes: Sequence[str]) -> None:
        self._system = system
        self._sandboxes = sandboxes
        self._lock = threading.Lock()
        self._last: tuple[int, StackStatus] | None = None

    def read(self) -> StackStatus:
        """What AWS refuses is left out, with the reason: the tables say the most."""
        with self._lock:
            now = now_ms()
            if self._last is None or now - self._last[0] > OLD_MS:
                self._last = (now, self._read())
            return self._last[1]

    def _read(self) -> StackStatus:
        problems: list[str] = []
        swept_at: dict[str, int | None] = {}
        dead_letters = None
        try:
            for sandbox in self._sandboxes if is_known(self._system) else ():
                swept_at[sandbox] = last_sweep(self._system, sandbox)
        except (ClientError, BotoCoreError) as error:
            problems.append(f"when sweeps ran is unknown: {_reason(error)}")
        try:
            dead_letters = dead_letters_of(self._system)
        except (ClientError, BotoCoreError) as error:
            problems.append(f"how many dead letters there are is unknown: {_reason(error)}")
        return StackStatus(swept_at, dead_letters, problems)


def dead_letters_of(system: DeployedSystem) -> int:
    """The approximate number of messages in the dead-letter queue of requests."""
    answer = system.client("sqs").get_queue_attributes(
        QueueUrl=system.outputs["DeadLetterQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )
    return sum(int(count) for count in answer["Attributes"].values())


def _reason(error: ClientError | BotoCoreError) -> str:
    return refusal(error) if isinstance(error, ClientError) else "; ".join(unreachable(error))
