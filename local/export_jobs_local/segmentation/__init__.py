"""A local Segmentation service: the whole `/export/jobs` endpoint, as real as a laptop can make it."""

from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService

__all__ = ["SegmentationService", "ServiceConfig"]
