"""The wire format of the Segmentation Service's `/export/jobs`: what it answers and what it is asked.

Answers are read leniently (`Job`, `JobPage`): the service's own publications differ, and a monitor
must not go blind over a field it does not need. Requests are checked strictly (`CreateExportJob`):
a misspelt field would silently export the wrong people.
"""

from export_jobs.contract.create import (
    CreateExportJob,
    FieldProblem,
    RequestInvalid,
    parse_create_request,
)
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
