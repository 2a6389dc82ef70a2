"""The HTTP API as in docs/contract.md.

`/export/jobs`, `/config/schedules`, IMS's token call and access control.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from export_jobs.contract import RequestInvalid, parse_create_request
from export_jobs.contract.text import DoubledKeys, decode_json
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from export_jobs_local.segmentation import answers
from export_jobs_local.segmentation.answers import GatewayError, JsonAnswer, bad_request
from export_jobs_local.segmentation.config import (
    ACCESS_CONTROL_PATH,
    API_PATH,
    IMS_PATH,
    MAY_CREATE,
    PERMISSIONS,
)
from export_jobs_local.segmentation.state import ServiceState
from export_jobs_local.segmentation.store import StoredJob

_STATUSES = frozenset(
    {"NEW", "QUEUED", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"}
)
_PAGE = Path(__file__).with_name("page.html")
_SCHEDULES_PER_PAGE = 100
_CURSOR = re.compile(r"([0-9]{1,15})_([0-9]{1,15})")


class Entitled:
    """The caller's organisation, after the gateway's checks."""

    def __init__(
        self,
        request: Request,
        *,
        authorization: Annotated[str | None, Header(description="Bearer and a token")] = None,
        x_api_key: Annotated[str | None, Header(description="the client id")] = None,
        x_gw_ims_org_id: Annotated[str | None, Header(description="the organisation")] = None,
    ) -> None:
        state = service_state(request)
        config = state.config
        if authorization is None:
            raise GatewayError(403, "403010", "Oauth token is missing.")
        if x_api_key is None:
            raise GatewayError(403, "403000", "Api Key is required")
        if x_api_key != config.client_id:
            raise GatewayError(403, "403003", "Api Key is invalid")
        if x_gw_ims_org_id is None:
            raise GatewayError(400, "400003", "Missing header")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not state.tokens.is_good(token.strip()):
            raise GatewayError(401, "401013", "Oauth token is not valid")
        if x_gw_ims_org_id not in {config.org_id, *config.other_orgs}:
            raise GatewayError(403, "403025", "Profile is not valid")
        self.org = x_gw_ims_org_id


class Caller:
    """The caller's organisation and sandbox."""

    def __init__(
        self,
        request: Request,
        entitled: Annotated[Entitled, Depends(Entitled)],
        *,
        x_sandbox_name: Annotated[str, Header(description="the AEP sandbox")] = "",
        x_profile_instance_id: Annotated[str, Header()] = "ups",
    ) -> None:
        sandboxes = service_state(request).config.sandboxes
        if x_sandbox_name not in sandboxes:
            raise bad_request(f"x-sandbox-name must name a sandbox: {', '.join(sandboxes)}")
        self.org = entitled.org
        self.sandbox = x_sandbox_name
        self.instance = x_profile_instance_id


def service_state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(service_state)]
Known = Annotated[Caller, Depends(Caller)]

router = APIRouter(prefix=API_PATH, tags=["export jobs"], responses=answers.GATEWAY)


@router.get("/export/jobs", responses=answers.PAGE)
@router.get("/export/jobs/", include_in_schema=False)
def list_jobs(
    caller: Known,
    state: State,
    limit: str | None = None,
    offset: str | None = None,
    status: str | None = None,
) -> JsonAnswer:
    """Jobs, newest first. Without any parameter, all of them."""
    most = _limit(limit, state.config.max_limit)
    if limit is None and (offset is not None or status is not None):
        most = state.config.max_limit
    after = _cursor(offset)
    if status is not None and status not in _STATUSES:
        raise bad_request(f"status {status!r} is not one of {', '.join(sorted(_STATUSES))}")
    now = state.config.clock()
    jobs = state.store.page(
        org=caller.org,
        sandbox=caller.sandbox,
        limit=None if most is None else most + 1,
        after=after,
        status=status,
        now=now,
    )
    shown = jobs if most is None else jobs[:most]
    more = len(jobs) > len(shown)
    page = {
        "records": [job.body for job in shown],
        "page": {
            "sortField": "createdTime",
            "sort": "desc",
            "pageOffset": offset or f"{now}_0",
            "pageSize": len(shown) if most is None else most,
        },
        "link": {"next": _next_link(shown[-1], most, status)} if more else {},
    }
    return JsonAnswer(page)


@router.post("/export/jobs", responses=answers.CREATED, openapi_extra=answers.CREATE_BODY)
@router.post("/export/jobs/", include_in_schema=False)
async def create_job(request: Request, caller: Known, state: State) -> JsonAnswer:
    """Creates a job; returns it with the status NEW."""
    if caller.sandbox in state.create_denied_in:
        raise answers.may_not_create(caller.sandbox)
    try:
        asked = parse_create_request(await _json(request))
    except RequestInvalid as error:
        raise bad_request(str(error)) from None
    except RecursionError:
        raise bad_request("The body is nested too deeply") from None
    request_id = str(uuid.uuid4())
    if state.echo_request_id:
        request_id = request.headers.get("x-request-id") or request_id
    job = state.lifecycle.create(
        asked,
        org=caller.org,
        sandbox=caller.sandbox,
        request_id=request_id,
        instance=caller.instance,
        visible_after=request.scope.get("export_jobs.visible_after", 0),
    )
    return JsonAnswer(job.body, headers={"X-Location": f"{API_PATH}/export/jobs/{job.id}"})


@router.get("/export/jobs/{job_id}", responses=answers.JOB)
def get_job(job_id: str, caller: Known, state: State) -> JsonAnswer:
    """One job."""
    return JsonAnswer(_existing(job_id, caller, state).body)


@router.delete("/export/jobs/{job_id}", responses=answers.CANCELLED)
def cancel_job(job_id: str, caller: Known, state: State) -> Response:
    """Marks a job for cancelling."""
    job = _existing(job_id, caller, state)
    if not state.lifecycle.cancel(job):
        raise bad_request(f"Export job {job.id} has already ended")
    if state.config.delete_answers == 204:
        return Response(status_code=204)
    return JsonAnswer({"status": True, "message": "Export job has been marked for cancelling"})


schedules = APIRouter(prefix=API_PATH, tags=["schedules"], responses=answers.GATEWAY)


@schedules.get("/config/schedules", responses=answers.SCHEDULES)
def list_schedules(
    caller: Known, state: State, start: str | None = None, limit: str | None = None
) -> JsonAnswer:
    """Schedules, newest first. `start` is the number of the page; the first one is 0."""
    most = _limit(limit, state.config.max_limit) or _SCHEDULES_PER_PAGE
    page = _page_number(start)
    shown, total = state.schedules.page(
        org=caller.org, sandbox=caller.sandbox, start=page, limit=most
    )
    following = page + 1
    is_last = following * most >= total
    return JsonAnswer(
        {
            "_page": {
                "totalCount": total,
                "pageSize": len(shown),
                **({} if is_last else {"next": str(following)}),
            },
            "children": shown,
            "_links": {
                "next": {}
                if is_last
                else {"href": f"@/config/schedules?start={following}&limit={most}"}
            },
        }
    )


access_control = APIRouter(
    prefix=ACCESS_CONTROL_PATH, tags=["access control"], responses=answers.GATEWAY
)


@access_control.post(
    "/effective-policies", responses=answers.POLICIES, openapi_extra=answers.POLICIES_BODY
)
async def effective_policies(request: Request, caller: Known, state: State) -> JsonAnswer:
    """Which of the named permissions the credential has; those that it lacks are left out."""
    names = await _json(request)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad_request("The body must be an array of names")
    held = set() if caller.sandbox in state.create_denied_in else {f"/permissions/{MAY_CREATE}"}
    return JsonAnswer({"policies": {name: ["*"] for name in sorted(held & set(names))}})


@access_control.get("/reference", responses=answers.REFERENCE)
def reference(_entitled: Annotated[Entitled, Depends(Entitled)]) -> JsonAnswer:
    """The names of all permissions."""
    types = {name: rights for all_of in PERMISSIONS.values() for name, rights in all_of.items()}
    return JsonAnswer({"permissions": PERMISSIONS, "resource-types": types})


ims = APIRouter(tags=["IMS"])


@ims.post(IMS_PATH, responses=answers.TOKEN, openapi_extra=answers.TOKEN_CALL)
async def token(request: Request, state: State) -> JsonAnswer:
    """OAuth server-to-server: a token for the client's credentials, in the body or the query."""
    config = state.config
    body = (await request.body()).decode("utf-8", "replace")
    form = {**request.query_params, **dict(parse_qsl(body, keep_blank_values=True))}
    if form.get("grant_type") != "client_credentials":
        return answers.oauth_error("unsupported_grant_type", "use client_credentials")
    if form.get("client_id") != config.client_id:
        return answers.oauth_error("invalid_client", "invalid client_id parameter")
    if form.get("client_secret") != config.client_secret:
        return answers.oauth_error("invalid_client", "invalid client_secret parameter")
    if not form.get("scope"):
        return answers.oauth_error("invalid_scope", "scope is required")
    return JsonAnswer(
        {
            "access_token": state.tokens.issue(config.client_id),
            "token_type": "bearer",
            "expires_in": state.tokens.lifetime_s,
        }
    )


def create_app(state: ServiceState) -> FastAPI:
    app = FastAPI(
        title="Segmentation Service, local",
        description="`/export/jobs` and `/config/schedules` of Adobe Experience Platform, on one laptop.",
        version="1.0",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = state
    app.include_router(ims)
    app.include_router(router)
    app.include_router(schedules)
    app.include_router(access_control)

    @app.get("/docs", include_in_schema=False)
    def page() -> HTMLResponse:
        """A page to read and try the OpenAPI document, without internet access."""
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"))

    @app.exception_handler(GatewayError)
    async def refuse(_request: Request, error: GatewayError) -> JsonAnswer:
        return JsonAnswer(error.body, status_code=error.status)

    @app.exception_handler(HTTPException)
    async def no_such_call(request: Request, error: HTTPException) -> JsonAnswer:
        called = answers.no_such_call(error.status_code, request.method, request.url.path)
        return JsonAnswer(called.body, status_code=called.status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JsonAnswer:
        """Leaves out the input: it may be impossible to encode as JSON."""
        found = [{part: one[part] for part in ("type", "loc", "msg")} for one in error.errors()]
        return JsonAnswer({"detail": found}, status_code=422)

    return app


async def _json(request: Request) -> Any:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise bad_request("A valid content-type must be specified")
    try:
        return decode_json(await request.body(), refuse_doubled_keys=True)
    except DoubledKeys as error:
        raise bad_request(str(error)) from None
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON") from None


def _existing(job_id: str, caller: Caller, state: ServiceState) -> StoredJob:
    job = state.store.get(int(job_id)) if re.fullmatch(r"[0-9]{1,15}", job_id) else None
    if job is None or (job.org, job.sandbox) != (caller.org, caller.sandbox):
        raise answers.not_found(job_id)
    return job


def _limit(text: str | None, most: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise bad_request("limit must be a whole number greater than 0")
    return min(int(text), most)


def _page_number(text: str | None) -> int:
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise bad_request("start must be the number of a page, 0 for the first")
    return int(text)


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if not found:
        raise bad_request("offset must be a cursor {creationTime}_{id}, as in link.next")
    return int(found[1]), int(found[2])


def _next_link(last: StoredJob, limit: int | None, status: str | None) -> str:
    """The link as the service writes it: relative to the API, with a slash before the `?`."""
    filtered = f"&status={status}" if status else ""
    return f"/export/jobs/?limit={limit}&offset={last.created}_{last.id}{filtered}"
