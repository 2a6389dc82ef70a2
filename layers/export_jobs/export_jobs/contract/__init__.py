"""The wire format of the Segmentation Service's `/export/jobs`: its responses and its requests.

Responses are parsed leniently (`JobPage`, `Job`): Adobe's own publications differ, and a field that
the monitor does not need must not make it fail. Requests are checked strictly (`CreateExportJob`):
a misspelt field would silently export the wrong people. Only the listing is imported at once: a
cold start of the monitor needs no model, unless a job has changed. `contract.schedule`, which only
the command needs, is imported from its module.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from export_jobs.contract.listing import JobHeader, JobPage
from export_jobs.contract.statuses import FINAL_STATUSES

if TYPE_CHECKING:
    from export_jobs.contract.create import (
        CreateExportJob,
        FieldProblem,
        RequestInvalid,
        parse_create_request,
    )
    from export_jobs.contract.job import Job

__all__ = [
    "FINAL_STATUSES",
    "CreateExportJob",
    "FieldProblem",
    "Job",
    "JobHeader",
    "JobPage",
    "RequestInvalid",
    "parse_create_request",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "job" if name == "Job" else "create"
    return getattr(import_module(f"{__name__}.{module}"), name)
