"""A local Segmentation service: the whole `/export/jobs` endpoint, with real exports."""

from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService

__all__ = ["SegmentationService", "ServiceConfig"]
