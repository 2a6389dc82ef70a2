"""Publishing: ten events per call, within its size; exactly what was confirmed has arrived."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from export_jobs.aws.names import KeptNames
from export_jobs.aws.publisher import MAX_CALL_BYTES, AwsEventPublisher
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import Event, EventType, Sink
from hypothesis import given
from hypothesis import strategies as st
from support.digests import digest_of, ended, sandbox_of


class Sinks:
    """Both clients, as they answer; `refused` holds the positions that each call refuses."""

    def __init__(self, refused: frozenset[int] = frozenset(), error: Exception | None = None):
        self.calls: list[list[Any]] = []
        self._refused, self._error = refused, error

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803  boto3's own name
        self._take(Entries)
        return {
            "Entries": [
                {"ErrorCode": "ThrottlingException"} if place in self._refused else {"EventId": "e"}
                for place in range(len(Entries))
            ]
        }

    def publish_batch(
        self,
        *,
        TopicArn: str,  # noqa: N803
        PublishBatchRequestEntries: list[Any],  # noqa: N803
    ) -> Any:
        entries = PublishBatchRequestEntries
        self._take(entries)
        ids = [entry["Id"] for entry in entries]
        return {
            "Successful": [{"Id": i} for place, i in enumerate(ids) if place not in self._refused],
            "Failed": [{"Id": i} for place, i in enumerate(ids) if place in self._refused],
        }

    def _take(self, entries: list[Any]) -> None:
        if self._error:
            raise self._error
        self.calls.append(entries)


def publisher(
    sinks: Sinks, names: Callable[[str], Names] = lambda _: NO_NAMES
) -> AwsEventPublisher:
    client = cast("Any", sinks)
    return AwsEventPublisher(
        events=lambda: client,
        sns=lambda: client,
        bus_name="bus",
        topic_arn="topic",
        stack_name="s",
        names=names,
    )


def event(number: int, size: int = 10) -> Event:
    detail = {
        "eventId": f"e{number}",
        "sandboxName": "prod",
        "jobId": str(number),
        "status": "FAILED",
        "previousStatus": None,
        "final": True,
        "outcome": "FAILED",
        "datasetId": None,
        "createdAt": None,
        "updatedAt": None,
        "durationMs": 1,
        "usualDurationMs": None,
        "delayLimitMs": None,
        "profilesExported": None,
        "errors": [{"code": "1", "message": "名" * size}],
        "requestKey": None,
        "correlationId": None,
    }
    return Event(EventType.JOB_STATE_CHANGE, detail)


def size_of(call: list[Any]) -> int:
    """Bytes of the texts that a service counts."""
    return sum(len(json.dumps(entry, ensure_ascii=False).encode()) for entry in call)


@pytest.mark.parametrize("sink", ["bus", "topic"])
@given(sizes=st.lists(st.integers(0, 12_000), max_size=35))
def test_every_event_is_published_once_in_order_within_what_a_call_takes(
    sink: Sink, sizes: list[int]
) -> None:
    """Up to ten events a call and 256 KB, however large they are."""
    sinks = Sinks()
    events = [event(number, size) for number, size in enumerate(sizes)]
    assert publisher(sinks).publish(events, sink) == {e.id for e in events}
    assert all(0 < len(call) <= 10 and size_of(call) < 262_144 for call in sinks.calls)
    texts = [json.dumps(entry) for call in sinks.calls for entry in call]
    assert [f"e{number}" in text for number, text in enumerate(texts)] == [True] * len(events)
    for call, following in zip(sinks.calls, sinks.calls[1:], strict=False):
        assert len(call) == 10 or size_of(call) + size_of(following[:1]) > MAX_CALL_BYTES


@pytest.mark.parametrize("sink", ["bus", "topic"])
def test_what_a_call_refuses_in_part_has_not_arrived(sink: Sink) -> None:
    """The others have arrived."""
    events = [event(number) for number in range(12)]
    arrived = publisher(Sinks(refused=frozenset({1, 5}))).publish(events, sink)
    assert {e.id for e in events} - arrived == {"e1", "e5", "e11"}


@pytest.mark.parametrize("sink", ["bus", "topic"])
@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "Publish"),
        EndpointConnectionError(endpoint_url="https://events"),
    ],
)
def test_a_call_that_fails_delivers_nothing_and_raises_nothing(
    sink: Sink, error: Exception
) -> None:
    """A later run publishes again what is still in the outbox."""
    assert publisher(Sinks(error=error)).publish([event(1)], sink) == frozenset()


def test_the_topic_gets_a_rendition_for_each_kind_of_reader() -> None:
    """JSON for machines, text for e-mail, Amazon Q's format for chat, attributes for filters."""
    sinks = Sinks()
    publisher(sinks).publish([event(1)], "topic")
    ((entry,),) = sinks.calls
    renditions = json.loads(entry["Message"])
    assert json.loads(renditions["default"])["detail"]["jobId"] == "1"
    assert renditions["email"].startswith("Export job 1 FAILED.")
    assert "--stack s" in renditions["email"]
    assert json.loads(renditions["https"])["source"] == "custom"
    attributes = {name: value["StringValue"] for name, value in entry["MessageAttributes"].items()}
    assert attributes == {
        "eventType": EventType.JOB_STATE_CHANGE,
        "status": "FAILED",
        "outcome": "FAILED",
        "sandboxName": "prod",
    }


def test_only_an_unusual_job_has_an_attribute_for_its_anomalies() -> None:
    """A list, of which a filter policy matches any, or that there is one."""
    sinks = Sinks()
    unusual = {**event(1).detail, "anomalies": ["VOLUME_DROP", "SLOW"]}
    told = [Event(EventType.JOB_STATE_CHANGE, {**unusual, "anomalies": []})]
    told.append(Event(EventType.JOB_STATE_CHANGE, unusual))
    publisher(sinks).publish(told, "topic")
    ((usual, found),) = sinks.calls
    assert "anomalies" not in usual["MessageAttributes"]
    assert found["MessageAttributes"]["anomalies"] == {
        "DataType": "String.Array",
        "StringValue": '["VOLUME_DROP", "SLOW"]',
    }


# -- names ---------------------------------------------------------------------------------------


def about(dataset: str | None = None, segment: str | None = None, number: int = 1) -> Event:
    """An event of a job with this dataset and this segment."""
    segments = [{"segmentId": segment, "segmentNs": "ups", "status": []}] if segment else []
    detail = {**event(number).detail, "datasetId": dataset, "segments": segments}
    return Event(EventType.JOB_STATE_CHANGE, detail)


def renditions(sinks: Sinks) -> list[dict[str, str]]:
    return [json.loads(entry["Message"]) for call in sinks.calls for entry in call]


class Reading:
    """Reads names, and counts how often; fails if it is told to."""

    def __init__(self, error: StoreUnavailable | None = None) -> None:
        self.sandboxes: list[str] = []
        self._error = error

    def __call__(self, sandbox: str) -> Names:
        self.sandboxes.append(sandbox)
        if self._error:
            raise self._error
        return Names({"d": "Newsletter"}, {"s": "VIP"})


def test_people_are_told_names_and_machines_ids() -> None:
    """On the topic, e-mail and chat have both; the JSON is that of the bus."""
    sinks, told = Sinks(), about("d", "s")
    publisher(sinks, Reading()).publish([told], "topic")
    (shown,) = renditions(sinks)
    for person in ("email", "https"):
        assert "Newsletter (d)" in shown[person]
        assert "VIP (s)" in shown[person]
    assert json.loads(shown["default"])["detail"] == told.detail
    ((entry,),) = sinks.calls
    assert entry["MessageAttributes"]["datasetId"]["StringValue"] == "d"


def test_names_are_read_only_for_a_message_that_can_show_them() -> None:
    """Promise 6: never for the bus, and not for an event with neither dataset nor segments."""
    reading = Reading()
    events = publisher(Sinks(), reading)
    events.publish([about("d", "s")], "bus")
    events.publish([about()], "topic")
    assert reading.sandboxes == []
    events.publish([about("d")], "topic")
    events.publish([about(segment="s")], "topic")
    assert reading.sandboxes == ["prod", "prod"]


def test_a_digest_has_the_names_of_each_sandbox_that_it_lists() -> None:
    """Each read once, however many of its datasets are listed."""
    read: list[str] = []

    def names(sandbox: str) -> Names:
        read.append(sandbox)
        return Names({f"d-{sandbox}": f"Newsletter of {sandbox}"})

    failed = [
        ended(n, "FAILED", sandbox=sandbox, dataset_id=f"d-{sandbox}")
        for n, sandbox in enumerate(["prod", "dev", "prod"])
    ]
    sinks = Sinks()
    digest = digest_of((sandbox_of(), (), failed))
    slow = {"sandboxName": "stage", "jobId": "9", "datasetId": "d-stage", "anomalies": ["SLOW"]}
    listed = {**digest.detail, "unusualExports": 1, "unusual": [slow]}
    publisher(sinks, names).publish([Event(digest.type, listed)], "topic")
    (shown,) = renditions(sinks)
    for sandbox in ("prod", "dev", "stage"):
        assert f"into Newsletter of {sandbox} (d-{sandbox}) [{sandbox}]" in shown["email"]
    assert sorted(read) == ["dev", "prod", "stage"]


def test_a_message_is_sent_without_names_if_they_cannot_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Promise 1: every one arrives, and one warning says why they have none."""
    sinks, reading = Sinks(), Reading(StoreUnavailable("throttled"))
    told = [about("d", number=number) for number in range(12)]
    arrived = publisher(sinks, KeptNames(reading)).publish(told, "topic")
    assert arrived == {one.id for one in told}
    assert all("Dataset:            d\n" in shown["email"] for shown in renditions(sinks))
    assert reading.sandboxes == ["prod"]
    assert len(caplog.records) == 1
