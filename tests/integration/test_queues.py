"""What is sent to the two queues, and what a sender sees when a queue can't be reached."""

from __future__ import annotations

from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from export_jobs.aws.sqs import SqsDeadLetterQueue, SqsRequestQueue
from export_jobs.model.ports import QueueUnavailable
from export_jobs.model.wake_up import wake_up_body
from support.dynamodb import Failure, Spy, refusal


@pytest.fixture
def url(clients: dict[str, Any]) -> Any:
    """The URL of a separate queue."""
    url = clients["sqs"].create_queue(QueueName="a-queue")["QueueUrl"]
    yield url
    clients["sqs"].delete_queue(QueueUrl=url)


def received(clients: dict[str, Any], url: str) -> Any:
    (message,) = clients["sqs"].receive_message(QueueUrl=url, MessageAttributeNames=["All"])[
        "Messages"
    ]
    attributes = message.get("MessageAttributes", {})
    return message["Body"], {name: value["StringValue"] for name, value in attributes.items()}


def test_a_dead_letter_carries_its_rejection(clients: dict[str, Any], url: str) -> None:
    """In attributes that a redrive keeps; the reason is cut to what an attribute can hold."""
    queue = SqsDeadLetterQueue(lambda: clients["sqs"], url=url)
    reason = "line\nbreak \x00" + "x" * 2_000
    queue.send("{}", request_key="k", record_key="m!1", reason=reason, event_id="e")
    body, attributes = received(clients, url)
    assert body == "{}"
    assert attributes == {
        "requestKey": "k",
        "recordKey": "m!1",
        "reason": "line break \N{REPLACEMENT CHARACTER}" + "x" * 988,
        "eventId": "e",
    }


def test_a_dead_letter_names_the_record_s_key_only_where_it_is_another(
    clients: dict[str, Any], url: str
) -> None:
    """Usually it is the request's."""
    queue = SqsDeadLetterQueue(lambda: clients["sqs"], url=url)
    queue.send("{}", request_key="k", record_key="k", reason="no", event_id="e")
    _, attributes = received(clients, url)
    assert attributes.keys() == {"requestKey", "reason", "eventId"}


def test_a_wake_up_names_the_sandbox_and_nothing_else(clients: dict[str, Any], url: str) -> None:
    """Its body contains everything."""
    SqsRequestQueue(lambda: clients["sqs"], url=url).wake("prod")
    assert received(clients, url) == (wake_up_body("prod"), {})


@pytest.mark.parametrize(
    "failure",
    [
        refusal("AccessDenied", 403),
        refusal("InternalError", 500),
        lambda _: EndpointConnectionError(endpoint_url="sqs"),
    ],
)
def test_a_queue_that_takes_nothing_is_unavailable(failure: Failure) -> None:
    """Whatever the reason: the message did not arrive, or that is unknown."""
    spy = Spy(None)
    spy.failures = [failure, failure]
    with pytest.raises(QueueUnavailable):
        SqsRequestQueue(lambda: cast("Any", spy), url="q").wake("prod")
    with pytest.raises(QueueUnavailable):
        SqsDeadLetterQueue(lambda: cast("Any", spy), url="q").send(
            "{}", request_key="k", record_key="k", reason="no", event_id="e"
        )
