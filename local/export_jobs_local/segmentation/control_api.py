"""The control over HTTP, under `/_control/`: the journal, jobs, schedules, settings and faults.

It is not under the API's path, and needs no token: the server listens on 127.0.0.1 only.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from export_jobs_local.segmentation import answers
from export_jobs_local.segmentation.answers import JsonAnswer, bad_request, not_found
from export_jobs_local.segmentation.app import service_state
from export_jobs_local.segmentation.faults import MAX_JOB_ID, Fault
from export_jobs_local.segmentation.state import Control, ServiceState

router = APIRouter(prefix="/_control", tags=["control"], responses=answers.CONTROL)

JobId = Annotated[int, Path(ge=1, le=MAX_JOB_ID)]
Millis = Annotated[int, Field(ge=0, lt=10**15, description="epoch milliseconds")]
Seconds = Annotated[int, Field(ge=0, lt=10**11, description="epoch seconds")]
_NOT_FIELDS = frozenset({"id", "job_id", "jobId", "sandbox"})
"""What identifies a job or a schedule, which a script can't set."""


class _Fields(BaseModel):
    """Fields by the service's names for them; others are allowed, too.

    The service assigns `id`, and the sandbox is a parameter of the call.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonValue]

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, given: Any) -> Any:
        if isinstance(given, dict) and (wrong := _NOT_FIELDS & given.keys()):
            raise ValueError(f"{', '.join(sorted(wrong))} can't be set")
        try:
            json.dumps(given, allow_nan=False, ensure_ascii=False).encode()
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        return given  # JSON and UTF-8 raise clear ValueErrors themselves

    def given(self) -> dict[str, Any]:
        """Only the fields that were given."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class JobFields(_Fields):
    """Fields of a job. The service assigns `id`, and the sandbox is a parameter of the call."""

    status: Annotated[str, Field(min_length=1, max_length=100)] = "NEW"
    creation_time: Millis = 0
    update_time: Millis = 0


class ScheduleFields(_Fields):
    """Fields of a schedule. The service assigns `id`; the sandbox is a parameter of the call."""

    name: str = "Local schedule"
    type: Annotated[str, Field(description="`export` or `batch_segmentation`")] = "export"
    schedule: Annotated[str, Field(description="Quartz cron, UTC; not checked")] = "0 0 1 * * ?"
    state: Annotated[str, Field(description="`active` or `inactive`")] = "inactive"
    properties: JsonValue = {}
    create_epoch: Seconds = 0
    update_epoch: Seconds = 0


class Switches(BaseModel):
    """Settings that can be changed while the service runs; those left out stay the same."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    echo_request_id: Annotated[
        bool | None, Field(description="whether a job shows the caller's `x-request-id`")
    ] = None
    create_denied_in: Annotated[
        list[str] | None,
        Field(description="sandboxes in which the credential may not create jobs"),
    ] = None
    pace_s: Annotated[
        float | None,
        Field(ge=0, le=86_400, description="seconds that jobs stay NEW, and then PROCESSING"),
    ] = None
    seed: Annotated[
        int | None, Field(ge=0, lt=2**63, description="restarts the random sequence of faults")
    ] = None
    expire_tokens: Annotated[bool, Field(description="invalidates every token so far")] = False


def _check_sandbox(state: ServiceState, name: str) -> None:
    if name not in state.config.sandboxes:
        raise bad_request(f"sandbox must be one of {', '.join(state.config.sandboxes)}")


@router.get("/journal")
def journal(request: Request, sandbox: str | None = None) -> list[dict[str, Any]]:
    """Every status that every job ever had, in order."""
    state = service_state(request)
    if sandbox is not None:
        _check_sandbox(state, sandbox)
    return [asdict(entry) for entry in Control(state).journal(sandbox)]


@router.get("/calls")
def calls(request: Request) -> dict[str, Any]:
    """The API calls since they were last forgotten: their counts, and the latest ones."""
    counts, last = service_state(request).calls()
    return {"counts": counts, "calls": [asdict(call) for call in last]}


@router.delete("/calls", status_code=204, response_class=Response)
def forget_calls(request: Request) -> None:
    service_state(request).forget_calls()


@router.post("/jobs", responses=answers.SCRIPTED_JOB, response_class=JsonAnswer)
def create_job(request: Request, fields: JobFields, sandbox: str = "prod") -> JsonAnswer:
    """Creates a job as another client would, with the given fields and defaults for the rest."""
    state = service_state(request)
    _check_sandbox(state, sandbox)
    return JsonAnswer(Control(state).add_job(sandbox, fields.given()).body)


@router.patch(
    "/jobs/{job_id}",
    responses={**answers.SCRIPTED_JOB, **answers.NO_SUCH_JOB},
    response_class=JsonAnswer,
)
def change_job(request: Request, job_id: JobId, fields: JobFields) -> JsonAnswer:
    """Changes fields of a job, e.g. its `status`; a job that this ends stops running."""
    job = Control(service_state(request)).change_job(job_id, **fields.given())
    if job is None:
        raise not_found(str(job_id))
    return JsonAnswer(job.body)


@router.delete(
    "/jobs/{job_id}", status_code=204, response_class=Response, responses=answers.NO_SUCH_JOB
)
def delete_job(request: Request, job_id: JobId) -> None:
    """Deletes a job without a call of the API."""
    if not Control(service_state(request)).delete_job(job_id):
        raise not_found(str(job_id))


@router.post("/schedules", responses=answers.SCRIPTED_SCHEDULE, response_class=JsonAnswer)
def create_schedule(request: Request, fields: ScheduleFields, sandbox: str = "prod") -> JsonAnswer:
    """Creates a schedule with the given fields and defaults for the rest. It is never run."""
    state = service_state(request)
    _check_sandbox(state, sandbox)
    return JsonAnswer(Control(state).create_schedule(sandbox, **fields.given()))


@router.delete(
    "/schedules/{schedule_id}",
    status_code=204,
    response_class=Response,
    responses=answers.NO_SUCH_SCHEDULE,
)
def delete_schedule(request: Request, schedule_id: str) -> None:
    """Deletes a schedule."""
    if not Control(service_state(request)).delete_schedule(schedule_id):
        raise answers.no_such_schedule(schedule_id)


@router.post("/faults", status_code=201)
def plan_fault(request: Request, fault: Fault) -> Fault:
    """Plans a fault; faults are tried in the order in which they were planned."""
    service_state(request).faults.plan(fault)
    service_state(request).refuse_if_due()
    return fault


@router.get("/faults")
def pending_faults(request: Request) -> list[Fault]:
    """The faults that have not struck yet."""
    return service_state(request).faults.pending()


@router.delete("/faults", status_code=204, response_class=Response)
def clear_faults(request: Request) -> None:
    service_state(request).faults.clear()


@router.post("/settings", status_code=204, response_class=Response)
def change_settings(request: Request, switches: Switches) -> None:
    state = service_state(request)
    if switches.create_denied_in is not None:
        for name in switches.create_denied_in:
            _check_sandbox(state, name)
        Control(state).deny_create(*switches.create_denied_in)
    if switches.echo_request_id is not None:
        state.echo_request_id = switches.echo_request_id
    if switches.pace_s is not None:
        state.lifecycle.pace_s = state.lifecycle.run_s = switches.pace_s
    if switches.seed is not None:
        state.faults.seed(switches.seed)
    if switches.expire_tokens:
        state.tokens.revoke_all()
