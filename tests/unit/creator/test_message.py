"""Reading messages of the queue: envelopes and bare bodies, hints in what can't be read, waiting times."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from export_jobs.contract import RequestInvalid
from export_jobs.creator.message import (
    Message,
    hints_in,
    key_of_unreadable,
    read_message,
    wait_s,
)
from hypothesis import given
from hypothesis import strategies as st

JOB: dict[str, Any] = {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}
SANDBOXES = ("prod", "dev")


def message(body: Any, **more: Any) -> Message:
    text = body if isinstance(body, str) else json.dumps(body)
    return Message(text, "message-id", 0, **more)


def test_an_envelope_says_it_all() -> None:
    """Key, sandbox, correlation id, expiry in milliseconds, and the body as it was."""
    request = read_message(
        message(
            {
                "requestKey": "nightly",
                "sandboxName": "dev",
                "correlationId": "campaign-42",
                "expiresAt": "1970-01-01T00:00:01+00:00",
                "job": JOB,
            }
        ),
        sandboxes=SANDBOXES,
    )
    assert (request.key, request.sandbox, request.action) == ("nightly", "dev", "create")
    assert (request.correlation_id, request.expires_at) == ("campaign-42", 1_000)
    assert request.job
    assert request.job.to_wire() == JOB
    assert request.dataset_id == "d"


def test_a_bare_body_is_a_request_for_the_first_sandbox() -> None:
    """Its key is the message's id, so that a redelivery is the same request."""
    request = read_message(message(JOB), sandboxes=SANDBOXES)
    assert (request.key, request.sandbox, request.action) == ("message-id", "prod", "create")


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ("{", "(body)", "is not JSON"),
        ("[]", "(body)", "must be a JSON object"),
        ({"job": {**JOB, "filter": {"segmnets": []}}}, "job.filter.segmnets", "'segments'"),
        ({"requestKey": "a b", "job": JOB}, "requestKey", "pattern"),
        ({"requestKey": "k" * 129, "job": JOB}, "requestKey", "128"),
        ({"correlationId": "a\x07b", "job": JOB}, "correlationId", "pattern"),
        ({"expiresAt": "tomorrow", "job": JOB}, "expiresAt", "RFC 3339"),
        ({"sandboxName": "other", "job": JOB}, "sandboxName", "watched: prod, dev"),
        ({"action": "create"}, "(body)", "needs 'job'"),
        ({"action": "cancel"}, "(body)", "needs either 'jobId' or 'cancelRequestKey'"),
        ({"action": "cancel", "jobId": "1", "job": JOB}, "(body)", "belongs to a create"),
        ({"action": "cancel", "jobId": "1", "cancelRequestKey": "k"}, "(body)", "either"),
        ({"action": "stop", "job": JOB}, "action", "create"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(body: Any, field: str, said: str) -> None:
    """What, where, and what to do."""
    with pytest.raises(RequestInvalid) as caught:
        read_message(message(body), sandboxes=SANDBOXES)
    (problem,) = [p for p in caught.value.problems if p.field == field]
    assert said in problem.message


@given(st.text(max_size=200) | st.dictionaries(st.text(max_size=20), st.integers()).map(json.dumps))
def test_any_message_is_read_or_refused(body: str) -> None:
    """Never with another error, which SQS would deliver again and again."""
    with suppress(RequestInvalid):
        read_message(message(body), sandboxes=SANDBOXES)


def test_the_same_request_has_the_same_hash_however_it_is_written() -> None:
    """Order and spaces do not count; sandbox, action and every field of the body do."""
    one = read_message(message({"job": JOB, "requestKey": "k"}), sandboxes=SANDBOXES)
    spaced = json.dumps({"requestKey": "k", "job": dict(reversed(JOB.items()))}, indent=3)
    assert read_message(message(spaced), sandboxes=SANDBOXES).body_hash == one.body_hash
    for other in (
        {"job": JOB, "sandboxName": "dev"},
        {"job": {**JOB, "fields": "a"}},
        {"action": "cancel", "jobId": "1"},
    ):
        assert read_message(message(other), sandboxes=SANDBOXES).body_hash != one.body_hash


@pytest.mark.parametrize(
    ("body", "key", "correlation_id"),
    [
        ({"requestKey": "k", "correlationId": "c"}, "k", "c"),
        ({"requestKey": "a b", "correlationId": "\x00"}, "message-id", None),
        ({"requestKey": 7, "correlationId": 7}, "message-id", None),
        ({"requestKey": "", "correlationId": "c" * 257}, "message-id", None),
        ("{", "message-id", None),
        ([], "message-id", None),
    ],
)
def test_an_unreadable_message_still_tells_whose_it_is(
    body: Any, key: str, correlation_id: str | None
) -> None:
    """As far as what it says can be passed on."""
    hints = hints_in(message(body))
    assert (hints.request_key, hints.correlation_id) == (key, correlation_id)


def test_an_unreadable_message_has_a_record_of_its_own() -> None:
    """Apart from the key that it names, which a mended one will use; the same when delivered again."""
    bodies = ('{"requestKey": "k"', '{"requestKey": "k", "jbo": 1}', "{")
    keys = [key_of_unreadable(message(body)) for body in bodies]
    assert len({*keys, "k", "message-id"}) == 5
    assert keys == [key_of_unreadable(message(body)) for body in bodies]


@pytest.mark.parametrize(
    ("waits", "asked_s", "waited_s"),
    [(0, None, 5), (1, None, 10), (6, None, 300), (99, None, 300), (0, 0, 1), (9, 4_000, 4_000)],
)
def test_waiting_is_as_long_as_asked_or_doubled(
    waits: int, asked_s: float | None, waited_s: float
) -> None:
    """5 s at first, doubled up to 5 minutes, unless the service says how long."""
    assert wait_s(message("", waits=waits), asked_s) == waited_s
