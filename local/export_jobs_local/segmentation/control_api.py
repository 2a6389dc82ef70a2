"""The control over HTTP, under `/_control/`: the truth, scripted jobs, settings and faults.

Never under the API's own path, and without a token: the server listens on 127.0.0.1 only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from export_jobs_local.segmentation.faults import Fault
from export_jobs_local.segmentation.state import Control, ServiceState

router = APIRouter(prefix="/_control", tags=["control"])

_NO_SUCH_JOB: dict[int | str, dict[str, Any]] = {404: {"description": "no such job"}}


def _fields(
    fields: Annotated[
        dict[str, Any], Body(description="fields of the job, as the service shows it")
    ],
) -> dict[str, Any]:
    """Refuses an `id`: a job shown under one and found under another would be two jobs."""
    unfit = fields.keys() & {"id", "job_id", "sandbox", "created", "visible_after"}
    if unfit:
        raise HTTPException(400, f"not to be given: {', '.join(sorted(unfit))}")
    return fields


Fields = Annotated[dict[str, Any], Depends(_fields)]


class Switches(BaseModel):
    """Settings that can be changed while the service runs; those left out stay as they are."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    echo_request_id: bool | None = None
    pace_s: float | None = None
    expire_tokens: bool = False


def _state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


@router.get("/journal")
def journal(request: Request, sandbox: str | None = None) -> list[dict[str, Any]]:
    """Every status that every job ever had, in order."""
    return [asdict(entry) for entry in Control(_state(request)).journal(sandbox)]


@router.get("/calls")
def calls(request: Request) -> dict[str, Any]:
    """The calls the API received since they were last forgotten, counted and one by one."""
    return {
        "counts": Control(_state(request)).calls(),
        "calls": [asdict(call) for call in _state(request).calls()],
    }


@router.delete("/calls", status_code=204, response_class=Response)
def forget_calls(request: Request) -> None:
    _state(request).forget_calls()


@router.post("/jobs", responses={400: {"description": "a field that can't be given"}})
def create_job(request: Request, fields: Fields, sandbox: str = "prod") -> dict[str, Any]:
    """A job made by somebody else, with the fields given and sensible ones for the rest."""
    created = fields.pop("creationTime", None)
    status = fields.pop("status", "NEW")
    job = Control(_state(request)).create_job(sandbox, status=status, created=created, **fields)
    return job.body


@router.patch(
    "/jobs/{job_id}",
    responses={400: {"description": "a field that can't be given"}, **_NO_SUCH_JOB},
)
def change_job(request: Request, job_id: int, fields: Fields) -> Any:
    """Changes fields of a job, e.g. its `status`."""
    job = Control(_state(request)).change_job(job_id, **fields)
    if job is None:
        raise _no_such_job(job_id)
    return job.body


@router.delete("/jobs/{job_id}", status_code=204, responses=_NO_SUCH_JOB, response_class=Response)
def delete_job(request: Request, job_id: int) -> None:
    """Removes a job behind everybody's back."""
    if not Control(_state(request)).delete_job(job_id):
        raise _no_such_job(job_id)


def _no_such_job(job_id: int) -> HTTPException:
    return HTTPException(404, f"there is no job {job_id}")


@router.post("/faults", status_code=201)
def plan_fault(request: Request, fault: Fault) -> Fault:
    """Plans a fault; several are drawn in the order they were planned."""
    _state(request).faults.plan(fault)
    return fault


@router.get("/faults")
def pending_faults(request: Request) -> list[Fault]:
    """The faults that have not struck yet."""
    return _state(request).faults.pending()


@router.delete("/faults", status_code=204, response_class=Response)
def clear_faults(request: Request) -> None:
    _state(request).faults.clear()


@router.post("/settings", status_code=204, response_class=Response)
def change_settings(request: Request, switches: Switches) -> None:
    state = _state(request)
    if switches.echo_request_id is not None:
        state.echo_request_id = switches.echo_request_id
    if switches.pace_s is not None:
        state.life.pace_s = switches.pace_s
    if switches.expire_tokens:
        state.tokens.revoke_all()
