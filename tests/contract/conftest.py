"""Callers of the local service: one that sends whatever a test gives it, and the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import requests
from export_jobs.client import SegmentationClient
from export_jobs_local.segmentation.server import SegmentationService
from support.local import client_of

BODY = {
    "destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
    "schema": {"name": "_xdm.context.profile"},
}


@dataclass
class Caller:
    """Raw HTTP with the right headers, any of which a test may change or leave out."""

    service: SegmentationService

    def token(self, **form: str) -> requests.Response:
        asked = {
            "grant_type": "client_credentials",
            "client_id": self.service.client_id,
            "client_secret": self.service.client_secret,
            "scope": self.service.scopes,
            **form,
        }
        return requests.post(self.service.ims_url, data=asked, timeout=10)

    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.token().json()['access_token']}",
            "x-api-key": self.service.client_id,
            "x-gw-ims-org-id": self.service.org_id,
            "x-sandbox-name": "prod",
        }

    def call(
        self,
        method: str,
        path: str = "",
        *,
        headers: dict[str, str | None] | None = None,
        resource: str = "/export/jobs",
        **options: Any,
    ) -> requests.Response:
        """Calls `/export/jobs` (or another resource) + path; a header of None is left out."""
        sent = {k: v for k, v in {**self.headers(), **(headers or {})}.items() if v is not None}
        url = f"{self.service.api_url}{resource}{path}"
        return requests.request(method, url, headers=sent, timeout=10, **options)


@pytest.fixture
def caller(service: SegmentationService) -> Caller:
    return Caller(service)


@pytest.fixture
def client(service: SegmentationService) -> SegmentationClient:
    return client_of(service, tries=1)
