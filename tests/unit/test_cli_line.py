"""What the command line shows of waiting requests: place, what they wait for, since when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from export_jobs.aws.settings import Settings
from export_jobs.model.limits import UNSEEN_MS
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import (
    Attempt,
    Gate,
    Hold,
    JobRecord,
    RequestRecord,
    SandboxRecord,
    Ticket,
)
from export_jobs_cli import request_list
from export_jobs_cli.line import Wait, WaitingLine, since_of, ticket_as_json

NOW = 1_769_824_800_000
KEYS = tuple(f"{number}8de9e11-e175-47be-9c97-1069aa1c752b" for number in range(3))
ENVIRONMENT = {
    "AEP_BASE_URL": "https://aep.example",
    "IMS_TOKEN_URL": "https://ims.example",
    "AEP_SECRET_ID": "secret",
    "SANDBOXES": "prod,dev",
    "JOBS_TABLE": "jobs",
    "REQUESTS_TABLE": "requests",
    "REQUEST_QUEUE_URL": "https://sqs.example/requests",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.example/dead",
    "EVENT_BUS_NAME": "bus",
    "TOPIC_ARN": "topic",
    "STACK_ID": "stack",
    "MAX_OPEN_EXPORTS": "2",
}


class SystemHere:
    """As much of a system as reading a line needs: what the tables have on each sandbox."""

    creator = Settings.from_environment(ENVIRONMENT)

    def __init__(self, *known: SandboxRecord, ended: tuple[RequestRecord, ...] = ()) -> None:
        self._known: Mapping[str, SandboxRecord] = {one.gate.sandbox: one for one in known}
        self._ended = ended
        self.store = self

    def load(self, sandbox: str) -> SandboxRecord:
        return self._known[sandbox]

    def ended_requests(self, statuses: Any, *, limit: int) -> Any:
        found = [record for record in self._ended if record.status in statuses]
        return iter(found[:limit])

    def rejected_requests(self, sandbox: str, *, limit: int) -> Any:
        found = [
            record
            for record in self._ended
            if (record.status, record.sandbox) == ("REJECTED", sandbox)
        ]
        return iter(sorted(found, key=lambda record: -record.touched_at)[:limit])

    def names(self, _sandbox: str) -> Names:
        return NO_NAMES

    def sandboxes(self, wanted: str | None) -> tuple[str, ...]:
        return (wanted,) if wanted else tuple(self._known)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("line", "request_list"):
        monkeypatch.setattr(f"export_jobs_cli.{module}.now_ms", lambda: NOW)


def ticket(key: str, *, turn: int = NOW - 1_000, **fields: Any) -> Ticket:
    return Ticket(
        "prod", key, fields.pop("action", "create"), turn, fields.pop("sent_at", turn), **fields
    )


def attempt(key: str, *, ago_ms: int = 5_000) -> Attempt:
    at = NOW - ago_ms
    return Attempt(key, f"id-{key}", noted_at=at, send_by=at + 30_000, hashes={}, rule=1)


def jobs(count: int) -> dict[str, JobRecord]:
    made = [JobRecord("prod", str(n), NOW - n, request_key=f"of-{n}") for n in range(count)]
    return {job.job_id: job for job in made}


def line_of(known: SandboxRecord) -> WaitingLine:
    return WaitingLine(SystemHere(known), known.gate.sandbox)  # type: ignore[arg-type]


def waiting(key: str = "a", **fields: Any) -> RequestRecord:
    return RequestRecord(key, "WAITING", "prod", **fields)


def wait_with(gate: Gate, open_jobs: int) -> Wait | None:
    known = SandboxRecord(gate, open_jobs=jobs(open_jobs), tickets=(ticket("a"),))
    return line_of(known).wait_of(waiting())


def test_what_a_request_in_line_waits_for() -> None:
    """Capacity; a failing service, until its hold is over, and then a probe; or else their turn."""
    assert wait_with(Gate("prod"), 1) == Wait("TURN")
    assert wait_with(Gate("prod"), 2) == Wait("CAPACITY")
    assert wait_with(Gate("prod", slots={"b": attempt("b")}), 1) == Wait("CAPACITY")
    until = NOW + 60_000
    assert wait_with(Gate("prod", hold=Hold(until, 60_000)), 2) == Wait("HOLD", until=until)
    assert wait_with(Gate("prod", hold=Hold(NOW - 1, 60_000)), 0) == Wait("PROBE")


def test_what_others_wait_for() -> None:
    """An attempt, the outcome of its create call; a cancel request, what it names."""
    at = NOW - 5_000
    line = line_of(SandboxRecord(Gate("prod", slots={"b": attempt("b")})))
    assert line.wait_of(RequestRecord("b", "CREATING", "prod")) == Wait("OUTCOME", since=at)
    for named, expected in (
        ({"jobId": "7"}, Wait("JOB", job_id="7")),
        ({"cancelRequestKey": "x"}, Wait("REQUEST", request_key="x")),
    ):
        body = json.dumps({"action": "cancel", **named})
        assert line.wait_of(waiting("c", action="cancel", body=body)) == expected
    tombstone = RequestRecord("x", "CANCEL_WANTED", "prod", touched_at=NOW)
    assert line.wait_of(tombstone) == Wait("REQUEST", until=NOW + UNSEEN_MS, request_key="x")
    assert line.wait_of(RequestRecord("d", "CREATED", "prod")) is None


def test_each_wait_is_described_in_words() -> None:
    """With the numbers and times that show whether to act."""
    line = line_of(SandboxRecord(Gate("prod"), open_jobs=jobs(1)))
    descriptions = {
        Wait("TURN"): "the creator's next run",
        Wait("CAPACITY"): "1 of 2 exports are open",
        Wait(
            "HOLD", until=NOW
        ): "failed or throttled calls: the line is held until 2026-01-31 02:00:00 UTC",
        Wait("PROBE"): "one request is tried first",
        Wait("OUTCOME", since=NOW): "its create call of 2026-01-31 02:00:00 UTC",
        Wait("JOB", job_id="7"): "job 7",
        Wait("REQUEST", request_key="x"): "request x",
        Wait(
            "REQUEST", until=NOW, request_key="x"
        ): "its own message, which is cancelled if it arrives by 2026-01-31",
    }
    for wait, words in descriptions.items():
        assert words in line.in_words(wait)


def test_cancel_requests_have_no_place_in_line() -> None:
    """Places count from one, and only requests for a job have one."""
    cancel = ticket("stop", action="cancel")
    line = line_of(SandboxRecord(Gate("prod"), tickets=(cancel, ticket("a"), ticket("b"))))
    assert [line.place(key) for key in ("stop", "a", "b", "nobody")] == [None, 1, 2, None]
    assert line.place_in_words("b") == "place 2 of 2"
    assert line.place_in_words("stop") == ""


def test_a_request_waits_since_it_was_sent() -> None:
    """Even one that was put back in line, or is looked at again and again."""
    assert since_of(waiting(sent_at=5, touched_at=9)) == 5
    assert since_of(RequestRecord("a", "CREATED", "prod", sent_at=5, touched_at=9)) == 9
    back = ticket_as_json(ticket("a", sent_at=NOW - 9_000), 1)
    assert back["since"] < back["notBefore"]
    assert ticket_as_json(ticket("a"), 1)["notBefore"] is None


def between_tries() -> SandboxRecord:
    """One request in line, and one whose delay before its next try runs for another minute."""
    due = NOW + 60_000
    delayed = ticket("again", turn=due, delayed=True)
    return SandboxRecord(Gate("prod"), tickets=(ticket("a"), delayed))


def test_a_request_between_two_tries_waits_for_the_next_one() -> None:
    """It has no place in line before that, and waits since its last try ended."""
    line = line_of(between_tries())
    record = waiting("again", sent_at=5, touched_at=9, try_number=2, retry_at=NOW + 60_000)
    assert line.wait_of(record) == Wait("RETRY", until=NOW + 60_000)
    assert line.in_words(Wait("RETRY", until=NOW)) == (
        "its next try, not before 2026-01-31 02:00:00 UTC"
    )
    assert (line.place("again"), line.place_in_words("a")) == (None, "place 1 of 1")
    assert since_of(record) == 9


def test_a_try_that_is_back_in_line_was_not_put_off() -> None:
    """Its place is by the time of its message, which is before the time since which it waits."""
    back = ticket_as_json(ticket("a", turn=NOW - 9_000, sent_at=NOW - 1_000), 1)
    assert (back["notBefore"], back["waitsForRetry"]) == (None, False)
    assert back["since"] == "2026-01-31T01:59:59.000Z"


def test_the_list_shows_requests_between_two_tries(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the line, with the time of the next try."""
    system: Any = SystemHere(between_tries())
    found = request_list.find(system, sandbox=None, limit=10)
    assert found.as_json()["sandboxes"][0]["waitingForRetry"] == 1
    row = found.as_json()["waiting"][1]
    assert (row["requestKey"], row["place"], row["since"]) == ("again", None, None)
    assert row["notBefore"] == "2026-01-31T02:01:00.000Z"
    request_list.show(found)
    printed = capsys.readouterr().out
    assert "prod: 1 waiting, 1 between two tries, 0 of 2 exports open" in printed
    assert "retry" in printed
    assert "from 01-31 02:01" in printed


def system_with_everything() -> SystemHere:
    prod = SandboxRecord(
        Gate("prod", slots={"b": attempt("b")}, hold=Hold(NOW + 60_000, 60_000)),
        open_jobs=jobs(1),
        tickets=(
            ticket("stop", action="cancel"),
            *(ticket(key, deadline_ms=NOW + 9_000_000) for key in KEYS),
        ),
    )
    ended = (
        RequestRecord("old", "CREATED", "prod", outcome="CREATED", job_id="3", touched_at=NOW - 9),
        RequestRecord(
            "m!1", "REJECTED", "prod", named="n:x:[b]", outcome="INVALID", touched_at=NOW
        ),
        RequestRecord("elsewhere", "DONE", "dev", outcome="CANCELLED", touched_at=NOW - 5),
    )
    return SystemHere(prod, SandboxRecord(Gate("dev")), ended=ended)


def test_the_list_has_who_waits_what_is_under_way_and_what_has_ended() -> None:
    """In the order of the line; attempts before jobs; the ended ones newest first, if asked for."""
    system: Any = system_with_everything()
    found = request_list.find(system, sandbox=None, limit=2).as_json()
    assert [row["requestKey"] for row in found["waiting"]] == [*KEYS[:2]]
    assert [row["status"] for row in found["underWay"]] == ["CREATING", "CREATED"]
    assert found["underWay"][0]["ageMs"] == 5_000
    assert found["ended"] is None
    assert found["sandboxes"][0] == {
        "sandboxName": "prod",
        "waiting": 3,
        "waitingForRetry": 0,
        "cancelsWaiting": 1,
        "openExports": 2,
        "maxOpenExports": 2,
        "heldUntil": "2026-01-31T02:01:00.000Z",
    }
    every = request_list.find(system, sandbox=None, ended=True, limit=10).as_json()
    assert [row["requestKey"] for row in every["ended"]] == ["n:x:[b]", "elsewhere", "old"]
    assert [row["requestKey"] for row in every["waiting"]] == [*KEYS, "stop"]
    in_prod = request_list.find(system, sandbox="prod", ended=True, limit=1).as_json()
    assert [row["requestKey"] for row in in_prod["ended"]] == ["n:x:[b]"]
    rejected = request_list.find(system, sandbox=None, rejected=True, limit=10).as_json()
    assert [row["recordKey"] for row in rejected["ended"]] == ["m!1"]


def test_a_hold_whose_time_is_over_holds_nothing() -> None:
    """It stays in the gate until a created job lifts it."""
    gate = Gate("prod", hold=Hold(NOW - 1, 60_000))
    system: Any = SystemHere(
        SandboxRecord(gate, tickets=(ticket("k"),)), SandboxRecord(Gate("dev"))
    )
    found = request_list.find(system, sandbox="prod", limit=2)
    assert found.as_json()["sandboxes"][0]["heldUntil"] is None
    assert found.lines[0].held_until is None
    assert found.lines[0].wait_in_line().what == "PROBE"


def test_rejected_requests_of_all_sandboxes_are_listed_newest_first_without_a_scan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not more than wanted, whichever sandboxes they are in; or those of one sandbox."""
    monkeypatch.delattr(SystemHere, "ended_requests")
    ended = tuple(
        RequestRecord(f"k{n}", "REJECTED", "dev" if n % 2 else "prod", touched_at=NOW - n)
        for n in range(6)
    )
    known = [SandboxRecord(Gate(sandbox)) for sandbox in ("prod", "dev")]
    system: Any = SystemHere(*known, ended=ended)

    def keys(sandbox: str | None, limit: int) -> list[str]:
        found = request_list.find(system, sandbox=sandbox, rejected=True, limit=limit)
        return [record.request_key for record in found.ended or ()]

    assert keys(None, 4) == ["k0", "k1", "k2", "k3"]
    assert keys("dev", 2) == ["k1", "k3"]
    assert keys("dev", 9) == ["k1", "k3", "k5"]


def test_the_list_is_read_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left out silently, and texts are printed unchanged."""
    system: Any = system_with_everything()
    request_list.show(request_list.find(system, sandbox=None, ended=True, limit=2))
    output = capsys.readouterr().out
    assert "  held until 2026-01-31 02:01:00 UTC: the service failed or throttled calls" in output
    assert "and 2 more: see --limit" in output
    assert "n:x:[b]" in output
    assert max(map(len, output.splitlines())) <= 80
    request_list.show(request_list.find(system, sandbox="dev", rejected=True, limit=2))
    assert "none" in capsys.readouterr().out
