"""The client with answers from a list instead of a socket, for properties by the thousand."""

from __future__ import annotations

from typing import Any

from export_jobs.client import Credentials, SegmentationClient
from export_jobs.client.transport import Answer


class Fed:
    """A transport that returns the given answers in turn, again and again."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self.calls = 0

    def send(self, _method: str, _url: str, **options: Any) -> Answer:
        assert options["may_send"]()
        answer = self._answers[self.calls % len(self._answers)]
        self.calls += 1
        return answer


class Token:
    """Tokens that need no IMS."""

    def get(self, _credentials: Credentials) -> str:
        return "token"

    def forget(self, _token: str) -> None:
        pass

    def secrets(self) -> list[str]:
        return ["token"]


def client_of(transport: Fed) -> SegmentationClient:
    credentials = Credentials("id", "secret", "ORG@AdobeOrg", "scope")
    return SegmentationClient(
        base_url="https://platform.adobe.io/data/core/ups",
        credentials=lambda: credentials,
        tokens=Token(),  # type: ignore[arg-type]
        transport=transport,  # type: ignore[arg-type]
    )


def fed_client(*answers: Answer) -> SegmentationClient:
    return client_of(Fed(*answers))
