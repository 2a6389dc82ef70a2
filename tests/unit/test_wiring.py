"""How the functions' parts are put together, as far as only that can show."""

from __future__ import annotations

import socket
import time

import pytest
from export_jobs.aws.settings import Settings
from export_jobs.client import RetryLater
from export_jobs.wiring import AFTER_A_CALL_S, segmentation_client

ENVIRONMENT = {
    "AEP_SECRET_ID": "secret",
    "SANDBOXES": "prod",
    "JOBS_TABLE": "jobs",
    "REQUESTS_TABLE": "requests",
    "REQUEST_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/requests",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
    "EVENT_BUS_NAME": "bus",
    "TOPIC_ARN": "topic",
    "STACK_ID": "stack",
}


def test_a_service_that_hangs_leaves_time_to_note_what_came_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long it hangs: a run that Lambda stops in the middle would cost a receive."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ExportJobs/test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "creator")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        settings = Settings.from_environment(
            {**ENVIRONMENT, "AEP_BASE_URL": url, "IMS_TOKEN_URL": url}
        )
        ends_at = time.monotonic() + AFTER_A_CALL_S + 2
        client = segmentation_client(settings, lambda: ends_at - time.monotonic())
        with pytest.raises(RetryLater):
            client._transport.send("GET", url)
        assert ends_at - time.monotonic() > AFTER_A_CALL_S - 1
