"""The settings that a function gets from the template in its environment, checked at its start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from export_jobs.events.policy import DigestPolicy, EventPolicy
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import TopicEvents


class SettingsInvalid(Exception):
    """The environment lacks a variable or has an invalid one. Names each, but no value."""


def _names(value: Any) -> Any:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _limits(value: Any) -> Any:
    """`datasetId=minutes,…` as a mapping of dataset id to minutes."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    return {dataset.strip(): minutes.strip() for dataset, _, minutes in pairs}


def _encrypted_or_local(value: str) -> str:
    url = urlsplit(value)
    if url.scheme == "https" and url.hostname:
        return value
    if url.scheme == "http" and url.hostname in _THIS_MACHINE:
        return value
    raise ValueError("must be an https:// address; http:// is allowed for this machine only")


def _exists_if_used(zone: str, info: ValidationInfo) -> str:
    """A time zone, looked up only if there is a digest: without one, nothing needs zones."""
    if info.data.get("digest_time"):
        from export_jobs.model.calendar import zone_named  # noqa: PLC0415  see above

        try:
            zone_named(zone)
        except (KeyError, ValueError):
            raise ValueError("is not an IANA time zone, such as Europe/Rome") from None
    return zone


_MINUTE_MS = 60_000
_THIS_MACHINE = {"127.0.0.1", "localhost", "host.docker.internal"}
"""The last is the name of the host machine in a container of `sam local`."""
ServiceUrl = Annotated[str, AfterValidator(_encrypted_or_local)]
QueueUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
Required = Annotated[str, Field(min_length=1)]
SandboxName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,256}$")]
Minutes = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """The settings of both functions; the creator has no others.

    Field names are the environment's, in lower case.
    """

    model_config = ConfigDict(
        alias_generator=str.upper, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    aep_base_url: ServiceUrl
    ims_token_url: ServiceUrl
    aep_secret_id: Required
    sandboxes: Annotated[tuple[SandboxName, ...], BeforeValidator(_names), Field(min_length=1)]
    jobs_table: Required
    requests_table: Required
    request_queue_url: QueueUrl
    dead_letter_queue_url: QueueUrl
    event_bus_name: Required
    topic_arn: Required
    topic_events: TopicEvents = "notable"
    stack_id: Required
    stack_name: str | None = None
    max_open_exports: Annotated[int, Field(ge=1, le=200)] = 20
    delay_limit_minutes: Minutes = 150
    dataset_delay_limits: Annotated[dict[str, Minutes], BeforeValidator(_limits)] = {}
    retention_days: Annotated[int, Field(ge=30)] = 90
    page_size: Annotated[int, Field(ge=1, le=1000)] = 100

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises SettingsInvalid with every variable that is missing or invalid."""
        try:
            return cls.model_validate(dict(environment))
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False)
            ]
            raise SettingsInvalid("; ".join(problems)) from None

    @property
    def event_policy(self) -> EventPolicy:
        return EventPolicy(stack_id=self.stack_id, topic_events=self.topic_events)

    @property
    def delay_policy(self) -> DelayPolicy:
        return DelayPolicy(
            limit_ms=self.delay_limit_minutes * _MINUTE_MS,
            by_dataset_ms={
                dataset: minutes * _MINUTE_MS
                for dataset, minutes in self.dataset_delay_limits.items()
            },
        )


class MonitorSettings(Settings):
    """`poll_seconds`: 0 sweeps once per invocation, N every N seconds while jobs are open.

    `heartbeat_secret_id`: the secret with the URL of the heartbeat; empty for none. `digest_time`:
    the local time of the daily digest in `digest_timezone`; empty for none.
    """

    poll_seconds: Annotated[int, Field(ge=0, le=60)] = 0
    delay_factor: Annotated[float, Field(ge=0, le=100)] = 3
    delay_repeat_minutes: Minutes = 60
    overlap_seconds: Annotated[int, Field(ge=0)] = 900
    heartbeat_secret_id: str = ""
    digest_time: Annotated[str, Field(pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d$")] = ""
    digest_timezone: Annotated[str, AfterValidator(_exists_if_used)] = "UTC"

    @property
    def delay_policy(self) -> DelayPolicy:
        return replace(
            super().delay_policy,
            factor=self.delay_factor,
            repeat_ms=self.delay_repeat_minutes * _MINUTE_MS,
        )

    @property
    def digest_policy(self) -> DigestPolicy | None:
        return DigestPolicy(self.digest_time, self.digest_timezone) if self.digest_time else None
