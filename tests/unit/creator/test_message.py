"""Reading messages: requests, bare bodies, wake-ups, and hints in what can't be read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from export_jobs.contract import RequestInvalid
from export_jobs.creator.message import (
    MAX_BODY_BYTES,
    Envelope,
    Letter,
    Message,
    Request,
    cancel_asked_for,
    hints_in,
    job_asked_for,
    key_of_rejected,
    read_request,
    woken_sandbox,
)
from export_jobs.model.records import RequestRecord
from export_jobs.model.retry import RetryPolicy
from export_jobs.model.wake_up import wake_up_body
from hypothesis import given
from hypothesis import strategies as st

JOB: dict[str, Any] = {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}
SANDBOXES = ("prod", "dev")

EVENT_ID = "4f1c1c52-0a05-5d5c-9d42-b8d7a8b7d3c1"


def text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def read(body: Any) -> Request:
    return read_request(text(body), sandboxes=SANDBOXES)


def message(body: Any, **attributes: str) -> Message:
    return Message("message-id", text(body), 0, attributes=attributes)


def test_an_envelope_is_read_completely() -> None:
    """Key, sandbox, correlation id, expiry in milliseconds, and the unchanged body."""
    body = {
        "requestKey": "nightly",
        "sandboxName": "dev",
        "correlationId": "campaign-42",
        "expiresAt": "1970-01-01T00:00:01+00:00",
        "job": JOB,
    }
    request = read(body)
    assert (request.key, request.sandbox, request.action) == ("nightly", "dev", "create")
    assert (request.correlation_id, request.expires_at) == ("campaign-42", 1_000)
    assert request.dataset_id == "d"
    assert job_asked_for(text(body)) == JOB


def test_a_bare_body_is_a_request_for_the_first_sandbox() -> None:
    """It names no key of its own, and no sandbox."""
    request = read(JOB)
    assert (request.key, request.sandbox, request.action) == (None, "prod", "create")
    assert not request.names_sandbox
    assert job_asked_for(text(JOB)) == JOB


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"jobId": "24115"}, ("24115", None)),
        ({"jobId": 24115}, ("24115", None)),
        ({"cancelRequestKey": "nightly"}, (None, "nightly")),
    ],
)
def test_a_cancel_request_names_a_job_or_a_request(
    body: dict[str, Any], names: tuple[str | None, str | None]
) -> None:
    """Field case 16: a job's id may be a number, as the service shows ids."""
    body = {"action": "cancel", **body}
    request = read(body)
    assert request.cancel_request_key == names[1]
    assert cancel_asked_for(text(body)) == names


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
        ({"action": "cancel", "jobId": True}, "jobId", "string"),
        ({"action": "cancel", "jobId": " "}, "jobId", "is blank"),
        ({"action": "cancel", "jobId": ""}, "jobId", "is empty"),
        ({"action": "stop", "job": JOB}, "action", "create"),
        ({"correlationId": "a\u2028b", "job": JOB}, "correlationId", "pattern"),
        ({"correlationId": "a\x9bb", "job": JOB}, "correlationId", "pattern"),
        ({"expiresAt": "9999-12-31T23:59:59-05:00", "job": JOB}, "expiresAt", "in UTC"),
        ({"sandboxName": "", "job": JOB}, "sandboxName", "is blank"),
        ({"sandboxName": " ", "job": JOB}, "sandboxName", "is blank"),
        ({"job": {}}, "job.destination", "is required"),
        ("{}", "job.destination", "is required"),
        (json.dumps(json.dumps({"job": JOB})), "(body)", "encoded twice"),
        ({"requestKey": "k", "job": text(JOB)}, "job", "it is JSON inside a string"),
        ({"requestKey": "k", "job": [JOB]}, "job", "must be an object"),
        ({**JOB, "requestKey": "k"}, "(body)", "move that body into 'job'"),
        ({**JOB, "sandboxName": "dev"}, "(body)", "has sandboxName next to the fields"),
        ({"action": "cancel", "jobId": "1\x00"}, "jobId", "invisible"),
        ("é" * (MAX_BODY_BYTES // 2 + 1), "(body)", "the limit is 258,048 (252 KB)"),
    ],
)
def test_a_problem_is_reported_with_its_field(body: Any, field: str, said: str) -> None:
    """What is wrong, where, and what to do."""
    with pytest.raises(RequestInvalid) as caught:
        read(body)
    (problem,) = [p for p in caught.value.problems if p.field == field]
    assert said in problem.message


ENVELOPES: list[dict[str, Any]] = [
    {
        "action": "create",
        "sandboxName": "dev",
        "requestKey": "k",
        "correlationId": "c",
        "expiresAt": "2027-01-01T00:00:00Z",
        "retry": {"attempts": 1},
        "job": JOB,
    },
    {"action": "cancel", "sandboxName": "dev", "requestKey": "k", "jobId": "1"},
    {"action": "cancel", "sandboxName": "dev", "requestKey": "k", "cancelRequestKey": "k2"},
]
FIELDS = [(envelope, name) for envelope in ENVELOPES for name in envelope]


def test_the_envelopes_have_every_field() -> None:
    """So that the tests below try all of them."""
    for envelope in ENVELOPES:
        read(envelope)
    assert {name for _, name in FIELDS} == {field.alias for field in Envelope.model_fields.values()}


@pytest.mark.parametrize(("envelope", "name"), FIELDS)
@pytest.mark.parametrize("value", [None, {}, [], "", " "], ids=repr)
def test_a_field_of_the_envelope_without_a_value_is_named(
    envelope: dict[str, Any], name: str, value: Any
) -> None:
    """Left out, a sandbox means the first one, a key a request of its own, an expiry none."""
    if name == "correlationId" and isinstance(value, str):
        read({**envelope, name: value})  # it selects nothing
        return
    with pytest.raises(RequestInvalid) as caught:
        read({**envelope, name: value})
    assert [p for p in caught.value.problems if p.field.startswith(name)]


@pytest.mark.parametrize(("envelope", "name"), FIELDS)
def test_a_misspelt_field_of_the_envelope_is_named(envelope: dict[str, Any], name: str) -> None:
    """For create and cancel requests."""
    misspelt = {key: value for key, value in envelope.items() if key != name}
    with pytest.raises(RequestInvalid) as caught:
        read({**misspelt, f"{name}s": envelope[name]})
    fields = {problem.field for problem in caught.value.problems}
    assert {f"{name}s", f"job.{name}s"} & fields or "(body)" in fields


def test_a_retry_is_read_completely() -> None:
    """With its defaults: fifteen minutes, and only after a failure."""
    whole = {"attempts": 2, "delayMinutes": 0, "on": ["SUCCEEDED_EMPTY", "FAILED"]}
    policy = read({"retry": whole, "job": JOB}).retry
    assert policy == RetryPolicy(2, 0, frozenset({"FAILED", "SUCCEEDED_EMPTY"}))
    default = RetryPolicy(10, 900_000, frozenset({"FAILED"}))
    assert read({"retry": {"attempts": 10}, "job": JOB}).retry == default
    assert read({"job": JOB}).retry is None


MAY_HAVE_WRITTEN = "such a job may have written data, which another one would write again"
OTHERS = "it can be FAILED or SUCCEEDED_EMPTY"


@pytest.mark.parametrize(
    ("retry", "problem"),
    [
        ({}, "retry.attempts: is required"),
        (None, "retry: is null; leave it out, or give it a value"),
        ({"delayMinutes": 1}, "retry.attempts: is required"),
        ({"attempts": 0}, "retry.attempts: Input should be greater than or equal to 1"),
        ({"attempts": 11}, "retry.attempts: Input should be less than or equal to 10"),
        ({"attempts": "2"}, "retry.attempts: Input should be a valid integer"),
        ({"attempts": True}, "retry.attempts: Input should be a valid integer"),
        (
            {"attempts": 1, "delayMinutes": -1},
            "retry.delayMinutes: Input should be greater than or equal to 0",
        ),
        (
            {"attempts": 1, "delayMinutes": 1441},
            "retry.delayMinutes: Input should be less than or equal to 1440",
        ),
        ({"attempts": 1, "on": []}, "retry.on: is empty; leave it out, or say what you want"),
        (
            {"attempts": 1, "on": ["FAILED", "FAILED"]},
            "retry.on: names 'FAILED' twice",
        ),
        *(
            (
                {"attempts": 1, "on": ["FAILED", outcome]},
                f"retry.on[1]: can't be {outcome}: {MAY_HAVE_WRITTEN}; {OTHERS}",
            )
            for outcome in ("SUCCEEDED_WITH_ERRORS", "VANISHED")
        ),
        (
            {"attempts": 1, "on": ["CANCELLED"]},
            f"retry.on[0]: can't be CANCELLED: such a job ended as intended; {OTHERS}",
        ),
        (
            {"attempts": 1, "on": ["failed"]},
            "retry.on[0]: Input should be 'FAILED' or 'SUCCEEDED_EMPTY'",
        ),
        (
            {"attempts": 1, "delay": 5},
            "retry.delay: is not a field of the request; did you mean 'delayMinutes'?",
        ),
    ],
)
def test_a_wrong_retry_is_named(retry: Any, problem: str) -> None:
    """A job that may have written data is never followed by another, and the problem says why."""
    with pytest.raises(RequestInvalid) as caught:
        read({"retry": retry, "job": JOB})
    assert [str(one) for one in caught.value.problems] == [problem]


def test_only_a_create_request_has_a_retry() -> None:
    """Not a cancel request; and a bare body has no place for it."""
    with pytest.raises(RequestInvalid, match="'retry' belongs to a create request"):
        read({"action": "cancel", "jobId": "1", "retry": {"attempts": 1}})
    with pytest.raises(RequestInvalid, match="has retry next to the fields of a POST body"):
        read({**JOB, "retry": {"attempts": 1}})


def test_a_hash_stays_what_it_was_without_a_retry() -> None:
    """Stored hashes are compared with those of later messages; a retry is part of the request."""
    assert read({"requestKey": "k", "job": JOB}).body_hash == (
        "1:6d48814b43da0c35b6ad193dccdb919db27dcb50df8f63bfd8bfab83bbc15107"
    )
    once = read({"retry": {"attempts": 1}, "job": JOB})
    written_out = {"on": ["FAILED"], "delayMinutes": 15, "attempts": 1}
    assert once.body_hash == read({"retry": written_out, "job": JOB}).body_hash
    twice = read({"retry": {"attempts": 2}, "job": JOB})
    assert len({read({"job": JOB}).body_hash, once.body_hash, twice.body_hash}) == 3


def test_a_doubled_field_of_a_retry_is_named() -> None:
    """One of the two would be ignored."""
    with pytest.raises(RequestInvalid, match=r"retry.attempts: is written more than once"):
        read('{"retry": {"attempts": 1, "attempts": 2}, "job": {}}')


@pytest.mark.parametrize(("envelope", "name"), FIELDS)
def test_a_doubled_field_of_the_envelope_is_named(envelope: dict[str, Any], name: str) -> None:
    """Even with the same value twice: a parser would take one of them without a word."""
    body = text(envelope)[:-1] + f", {json.dumps({name: envelope[name]})[1:]}"
    with pytest.raises(RequestInvalid) as caught:
        read(body)
    (problem,) = caught.value.problems
    assert (problem.field, "once" in problem.message) == (name, True)


@pytest.mark.parametrize("envelope", ["%s", '{"job": %s}'])
def test_a_doubled_filter_is_named(envelope: str) -> None:
    """Field case 15: the second, without segments, would export everybody."""
    job = text(JOB)[:-1] + ', "filter": {"segments": [{"segmentId": "x"}]}, "filter": {}}'
    with pytest.raises(RequestInvalid) as caught:
        read(envelope % job)
    assert [p.field for p in caught.value.problems] == [
        "job.filter" if "job" in envelope else "filter"
    ]


@pytest.mark.parametrize(
    ("wrapped", "says"),
    [
        (
            {"Type": "Notification", "MessageId": "m", "TopicArn": "arn", "Message": text(JOB)},
            "raw message delivery (RawMessageDelivery)",
        ),
        (
            {"version": "0", "id": "i", "detail-type": "t", "source": "s", "detail": {"job": JOB}},
            "input transformer",
        ),
        (
            {"version": "1.0", "requestContext": {}, "requestPayload": JOB, "responsePayload": {}},
            "wrapped by Lambda",
        ),
        ({"Records": [{"eventSource": "aws:s3", "s3": {}}]}, "an S3 notification"),
        ({"MessageId": "m", "ReceiptHandle": "r", "Body": text(JOB)}, "send the request itself"),
        ({"messageId": "m", "body": text(JOB), "eventSource": "aws:sqs"}, "the request itself"),
        ({"requestKey": "k", "reason": "INVALID", "body": text(JOB)}, "the request itself"),
        ({"specversion": "1.0", "type": "t", "data": JOB}, "the request itself"),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, "ignore it"),
    ],
)
def test_a_request_in_the_envelope_of_another_service_is_recognised(
    wrapped: dict[str, Any], says: str
) -> None:
    """Field case 19: the one reason is what to change, not a list of unknown fields."""
    with pytest.raises(RequestInvalid) as caught:
        read(wrapped)
    (problem,) = caught.value.problems
    assert problem.field == "(body)"
    assert says in problem.message


def test_a_byte_order_mark_does_no_harm() -> None:
    """Field case 17: a file's mark is still there when its text is a message."""
    body = "\ufeff" + text({"requestKey": "k", "job": JOB})
    assert read(body).body_hash == read({"job": JOB}).body_hash
    assert job_asked_for(body) == JOB
    assert hints_in(body).request_key == "k"
    assert cancel_asked_for("\ufeff" + text(ENVELOPES[1])) == ("1", None)


@pytest.mark.parametrize(
    ("expires_at", "epoch_ms"),
    [
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ],
)
def test_an_expiry_at_the_end_of_time_is_read(expires_at: str, epoch_ms: int) -> None:
    """Field case 13: what can be represented in UTC is a time like any other."""
    assert read({"job": JOB, "expiresAt": expires_at}).expires_at == epoch_ms


@given(st.text(max_size=200) | st.dictionaries(st.text(max_size=20), st.integers()).map(json.dumps))
def test_any_message_is_read_or_refused(body: str) -> None:
    """Never with another error, which SQS would deliver again and again."""
    with suppress(RequestInvalid):
        read(body)
    assert woken_sandbox(message(body)) is None
    hints_in(body)


def test_the_largest_body_is_read() -> None:
    """The limit itself is allowed."""
    body = text({"job": JOB})
    assert read(body + " " * (MAX_BODY_BYTES - len(body))).dataset_id == "d"


def test_the_same_request_has_the_same_hash_however_it_is_written() -> None:
    """Order, spaces and the envelope do not matter; the action and every field of the body do."""
    one = read({"job": JOB, "requestKey": "k"})
    spaced = json.dumps({"requestKey": "k", "job": dict(reversed(JOB.items()))}, indent=3)
    for same in (spaced, JOB, {"job": JOB, "requestKey": "k2", "correlationId": "c"}):
        assert read(same).body_hash == one.body_hash
    others = [
        {"job": {**JOB, "fields": "a"}},
        {"action": "cancel", "jobId": "1"},
        {"action": "cancel", "jobId": "2"},
        {"action": "cancel", "cancelRequestKey": "1"},
        {"action": "cancel", "cancelRequestKey": "2"},
    ]
    assert len({read(other).body_hash for other in [{"job": JOB}, *others]}) == 6
    assert read({"action": "cancel", "jobId": 1}).body_hash == read(others[1]).body_hash


@pytest.mark.parametrize(
    ("body", "same"),
    [
        ({"job": JOB}, True),
        ({"job": JOB, "sandboxName": "dev"}, True),
        ({"job": JOB, "sandboxName": "prod"}, False),
        ({"job": {**JOB, "fields": "a"}}, False),
    ],
)
def test_a_duplicate_asks_for_the_same_in_the_same_sandbox(body: Any, same: bool) -> None:
    """One without a sandbox belongs to that of its record, whichever sandbox is now the first."""
    record = RequestRecord("k", "CREATED", "dev", body_hash=read({"job": JOB}).body_hash)
    assert read(body).is_that_of(record) is same


@pytest.mark.parametrize("known", [None, "0:ab", "2:ab"])
def test_a_hash_of_another_rule_is_no_contradiction(known: str | None) -> None:
    """An older or a newer version wrote the record: it can't be compared."""
    assert read({"job": JOB}).is_that_of(RequestRecord("k", "CREATED", "dev", body_hash=known))


@pytest.mark.parametrize(
    ("body", "key", "correlation_id"),
    [
        ({"requestKey": "k", "correlationId": "c"}, "k", "c"),
        ({"requestKey": "a b", "correlationId": "\x00"}, None, None),
        ({"requestKey": 7, "correlationId": 7}, None, None),
        ({"requestKey": "", "correlationId": "c" * 257}, None, None),
        ("{", None, None),
        ([], None, None),
    ],
)
def test_an_unreadable_message_still_shows_its_request(
    body: Any, key: str | None, correlation_id: str | None
) -> None:
    """Its key and correlation id, if they are valid."""
    hints = hints_in(text(body))
    assert (hints.request_key, hints.correlation_id) == (key, correlation_id)


def test_a_rejected_message_has_a_record_of_its_own() -> None:
    """Separate from the key it names, which a corrected one will use; redelivered, the same."""
    bodies = ('{"requestKey": "k"', '{"requestKey": "k", "jbo": 1}', "{")
    keys = [key_of_rejected("message-id", body) for body in bodies]
    assert len({*keys, "k", "message-id", key_of_rejected("another", "{")}) == 6
    assert keys == [key_of_rejected("message-id", body) for body in bodies]
    for key in keys:  # a sender's key may look like anything except the message's own id
        assert key.startswith("message-id!")


@pytest.mark.parametrize(
    ("body", "sandbox"),
    [
        (wake_up_body("prod"), "prod"),
        ('{"wakeUp": "prod", "job": {}}', None),
        ('{"job": {"fields": "\\"wakeUp\\""}}', None),
        ('["wakeUp"]', None),
        ('{"wakeUp"', None),
        ('{"wakeUp": "' + "p" * 1_000 + '"}', None),
    ],
)
def test_a_wake_up_has_no_other_field(body: str, sandbox: str | None) -> None:
    """A message with more fields is read as a request."""
    assert woken_sandbox(message(body)) == sandbox


@pytest.mark.parametrize(
    ("attributes", "letter"),
    [
        ({}, None),
        ({"requestKey": "k"}, None),
        ({"eventId": EVENT_ID}, None),
        ({"requestKey": "", "eventId": EVENT_ID}, None),
        ({"requestKey": "k", "eventId": "made up"}, None),
        ({"requestKey": "x" * 3_000, "eventId": EVENT_ID}, None),
        ({"requestKey": "k", "recordKey": "x" * 3_000, "eventId": EVENT_ID}, None),
        ({"requestKey": "k", "eventId": EVENT_ID}, Letter("k", "k", EVENT_ID)),
        (
            {"requestKey": "k", "recordKey": "m!1", "eventId": EVENT_ID},
            Letter("k", "m!1", EVENT_ID),
        ),
    ],
)
def test_only_what_a_dead_letter_has_makes_one(
    attributes: dict[str, str], letter: Letter | None
) -> None:
    """A request key and the event of its rejection; whether they are true is not checked here."""
    assert message(JOB, **attributes).letter == letter
