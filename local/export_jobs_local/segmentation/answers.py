"""Answers other than jobs, and the descriptions of all answers for the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from export_jobs.contract import CreateExportJob
from fastapi.responses import JSONResponse


class JsonAnswer(JSONResponse):
    """JSON in ASCII: a string that a caller sent may be impossible to encode in UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class GatewayError(Exception):
    """An error answer, in the gateway's format or the service's (`BadRequestError` etc.)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.body: dict[str, Any] = {"error_code": code, "message": message}
        super().__init__(message)


def bad_request(detail: str) -> GatewayError:
    """A 400 in the format of the service behind the gateway."""
    return _service_error(400, "BadRequestError", detail)


def not_found(job_id: str) -> GatewayError:
    return _service_error(404, "NotFoundError", f"Export job {job_id} does not exist")


def no_such_schedule(number: str) -> GatewayError:
    return _service_error(404, "NotFoundError", f"Schedule {number} does not exist")


def may_not_create(sandbox: str) -> GatewayError:
    detail = f"Sandbox {sandbox}: the permission Export Audience for Segment is missing"
    return _service_error(403, "ForbiddenError", detail)


def no_such_call(status: int, method: str, path: str) -> GatewayError:
    """A path or method that the service does not have, or a body that it can't read."""
    match status:
        case 404:
            return _service_error(404, "NotFoundError", f"There is no resource {path}")
        case 405:
            return _service_error(405, "MethodNotAllowedError", f"{path} does not allow {method}")
        case _:
            return _service_error(status, "BadRequestError", "The request can't be read")


def _service_error(status: int, title: str, detail: str) -> GatewayError:
    error = GatewayError(status, title, detail)
    error.body = {
        "type": f"http://ns.adobe.com/aep/errors/UPEXPORT-{status}",
        "status": status,
        "title": title,
        "detail": detail,
    }
    return error


def oauth_error(code: str, description: str) -> JsonAnswer:
    return JsonAnswer({"error": code, "error_description": description}, status_code=400)


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_GATEWAY_ERROR = _object({"error_code": _TEXT, "message": _TEXT})
_SERVICE_ERROR = _object({"type": _TEXT, "status": _NUMBER, "title": _TEXT, "detail": _TEXT})
_SPAN = _object({"startTimeInMs": _NUMBER}, endTimeInMs=_NUMBER, totalTimeInMs=_NUMBER)
_JOB = _object(
    {
        "id": _NUMBER,
        "jobType": _TEXT,
        "destination": _object(
            {"datasetId": _TEXT, "segmentPerBatch": {"type": "boolean"}},
            batchId=_TEXT,
            batches={
                "type": "array",
                "items": _object(
                    {
                        "segmentId": _TEXT,
                        "segmentNs": _TEXT,
                        "status": {"type": "array", "items": _TEXT},
                        "batchId": _TEXT,
                    }
                ),
            },
        ),
        "fields": _TEXT,
        "schema": _object({"name": _TEXT}),
        "imsOrgId": _TEXT,
        "status": _TEXT,
        "filter": {"type": "object"},
        "mergePolicy": _object({"id": _TEXT}, version=_NUMBER),
        "profileInstanceId": _TEXT,
        "errors": {
            "type": "array",
            "items": _object({"code": _TEXT, "msg": _TEXT, "callStack": _TEXT}),
        },
        "metrics": _object(
            {"totalTime": _SPAN},
            profileExportTime=_SPAN,
            totalExportedProfileCounter=_NUMBER,
            exportedProfileByNamespaceCounter={
                "type": "object",
                "additionalProperties": _NUMBER,
            },
        ),
        "computeGatewayJobId": _object({"exportJob": _TEXT}),
        "creationTime": _NUMBER,
        "updateTime": _NUMBER,
        "requestId": _TEXT,
    },
    additionalFields={"type": "object"},
)
_PAGE = _object(
    {
        "records": {"type": "array", "items": _JOB},
        "page": _object(
            {"sortField": _TEXT, "sort": _TEXT, "pageOffset": _TEXT, "pageSize": _NUMBER}
        ),
        "link": _object({}, next=_TEXT),
    }
)

_SCHEDULE = _object(
    {
        "id": _TEXT,
        "imsOrgId": _TEXT,
        "sandbox": _object(
            {
                "sandboxId": _TEXT,
                "sandboxName": _TEXT,
                "type": _TEXT,
                "default": {"type": "boolean"},
            }
        ),
        "name": _TEXT,
        "state": _TEXT,
        "type": _TEXT,
        "schedule": _TEXT,
        "properties": {},
        "createEpoch": _NUMBER,
        "updateEpoch": _NUMBER,
    }
)
_SCHEDULE_PAGE = _object(
    {
        "_page": _object({"totalCount": _NUMBER, "pageSize": _NUMBER}, next=_TEXT),
        "children": {"type": "array", "items": _SCHEDULE},
        "_links": _object({"next": _object({}, href=_TEXT)}),
    }
)

Described = dict[int | str, dict[str, Any]]

CONTROL: Described = {400: _answer("unreadable, or no such sandbox", _SERVICE_ERROR)}
SCRIPTED_JOB: Described = {200: _answer("the job", {"type": "object"})}
NO_SUCH_JOB: Described = {404: _answer("no such job", _SERVICE_ERROR)}
SCRIPTED_SCHEDULE: Described = {200: _answer("the schedule", {"type": "object"})}
NO_SUCH_SCHEDULE: Described = {404: _answer("no such schedule", _SERVICE_ERROR)}

GATEWAY: Described = {
    400: _answer("malformed", {"anyOf": [_GATEWAY_ERROR, _SERVICE_ERROR]}),
    401: _answer("the token is invalid or has expired", _GATEWAY_ERROR),
    403: _answer("no token, or the key or the organisation is wrong", _GATEWAY_ERROR),
}
PAGE: Described = {200: _answer("a page of jobs", _PAGE)}
SCHEDULES: Described = {200: _answer("a page of schedules", _SCHEDULE_PAGE)}
CREATED: Described = {
    200: _answer("the job, NEW", _JOB),
    403: _answer(
        "as for any call, or no permission to create jobs",
        {"anyOf": [_GATEWAY_ERROR, _SERVICE_ERROR]},
    ),
}
_RIGHTS = {"type": "array", "items": _TEXT}
POLICIES: Described = {
    200: _answer(
        "the permissions asked for that the credential has, each with an asterisk",
        _object({"policies": {"type": "object", "additionalProperties": _RIGHTS}}),
    )
}
_RIGHTS_BY_TYPE = {"type": "object", "additionalProperties": _RIGHTS}
REFERENCE: Described = {
    200: _answer(
        "every permission, with the rights that it includes, and every resource type",
        _object(
            {
                "permissions": {"type": "object", "additionalProperties": _RIGHTS_BY_TYPE},
                "resource-types": _RIGHTS_BY_TYPE,
            }
        ),
    )
}
JOB: Described = {
    200: _answer("the job", _JOB),
    404: _answer("no such job", _SERVICE_ERROR),
}
CANCELLED: Described = {
    200: _answer(
        "marked for cancelling", _object({"status": {"type": "boolean"}, "message": _TEXT})
    ),
    204: {"description": "marked for cancelling"},
    404: _answer("no such job", _SERVICE_ERROR),
}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, as OpenAPI and JSON Schema keep definitions differently."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return {**_inlined(named, definitions), **{k: v for k, v in schema.items() if k != "$ref"}}
    return {k: _inlined(v, definitions) for k, v in schema.items() if k != "$defs"}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


_CREATE = CreateExportJob.model_json_schema(by_alias=True)
CREATE_BODY = _body("application/json", _inlined(_CREATE, _CREATE.get("$defs", {})))
POLICIES_BODY = _body("application/json", _RIGHTS)
_TOKEN_PARAMETERS = ("grant_type", "client_id", "client_secret", "scope")
TOKEN_CALL = {
    "requestBody": {
        "description": "A parameter here overrides one of the query.",
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": _object({}, **dict.fromkeys(_TOKEN_PARAMETERS, _TEXT))
            }
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": _TEXT}
        for name in _TOKEN_PARAMETERS
    ],
}
TOKEN: Described = {
    200: _answer(
        "a token", _object({"access_token": _TEXT, "token_type": _TEXT, "expires_in": _NUMBER})
    ),
    400: _answer("refused", _object({"error": _TEXT, "error_description": _TEXT})),
}
