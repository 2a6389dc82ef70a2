"""The wire format of the Segmentation Service's `/export/jobs`: its responses and its requests.

Responses are parsed leniently (`Job`, `JobPage`): Adobe's own publications differ, and a field that
the monitor does not need must not make it fail. Requests are checked strictly (`CreateExportJob`):
a misspelt field would silently export the wrong people. The request models are imported on first
use, because the monitor does not need them at its cold start. `contract.schedule`, which only the
command needs, is imported from its module.
"""

from typing import TYPE_CHECKING, Any

from export_jobs.contract.job import (
    FINAL_STATUSES,
    Batch,
    Destination,
    Job,
    JobError,
    JobPage,
    Metrics,
    Segment,
    Timing,
)

if TYPE_CHECKING:
    from export_jobs.contract.create import (
        CreateExportJob,
        FieldProblem,
        RequestInvalid,
        parse_create_request,
    )

__all__ = [
    "FINAL_STATUSES",
    "Batch",
    "CreateExportJob",
    "Destination",
    "FieldProblem",
    "Job",
    "JobError",
    "JobPage",
    "Metrics",
    "RequestInvalid",
    "Segment",
    "Timing",
    "parse_create_request",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from export_jobs.contract import create  # noqa: PLC0415  see above

    return getattr(create, name)
