"""A typed client of the Segmentation Service's `/export/jobs`, and of IMS for its tokens."""

from export_jobs.client.credentials import Credentials, SecretUnreadable
from export_jobs.client.segmentation import SegmentationClient
from export_jobs.client.tokens import ImsTokens
from export_jobs.client.transport import Transport
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    Refused,
    RetryLater,
    SegmentationError,
)

__all__ = [
    "BadCredentials",
    "Credentials",
    "Forbidden",
    "ImsTokens",
    "NotFound",
    "Refused",
    "RetryLater",
    "SecretUnreadable",
    "SegmentationClient",
    "SegmentationError",
    "Transport",
]
