"""The addresses of the pages: on the server, and as files of a snapshot."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.ASCII)
"""Names that Windows gives no file."""


class Addresses(Protocol):
    """Where the pages are. None for a page that does not exist."""

    @property
    def overview(self) -> str: ...
    @property
    def requests(self) -> str: ...
    @property
    def expectations(self) -> str: ...
    def expectation(self, sandbox: str, name: str) -> str:
        """Its place on the page of expectations."""

    def job(self, sandbox: str, job_id: str) -> str | None: ...
    def dataset(self, sandbox: str, dataset_id: str) -> str | None: ...
    def asset(self, name: str) -> str: ...


class ServedAddresses:
    """Ids are in the query, where any text can stand: in a path, `..` would be another page."""

    overview = "/"
    requests = "/requests"
    expectations = "/expectations"

    def expectation(self, sandbox: str, name: str) -> str:
        return f"{self.expectations}#{anchor(sandbox, name)}"

    def job(self, sandbox: str, job_id: str) -> str | None:
        return f"/job?{urlencode({'sandbox': sandbox, 'id': job_id})}"

    def dataset(self, sandbox: str, dataset_id: str) -> str | None:
        return f"/dataset?{urlencode({'sandbox': sandbox, 'id': dataset_id})}"

    def asset(self, name: str) -> str:
        return f"/assets/{name}"


SERVED = ServedAddresses()


@dataclass(frozen=True)
class FileAddresses:
    """Relative addresses of files. `root` leads from the page to the snapshot's directory.

    `jobs` and `datasets` are those that have a page, each with its sandbox.
    """

    root: str
    jobs: Collection[tuple[str, str]]
    datasets: Collection[tuple[str, str]]

    @property
    def overview(self) -> str:
        return f"{self.root}index.html"

    @property
    def requests(self) -> str:
        return f"{self.root}requests.html"

    @property
    def expectations(self) -> str:
        return f"{self.root}expectations.html"

    def expectation(self, sandbox: str, name: str) -> str:
        return f"{self.expectations}#{anchor(sandbox, name)}"

    def job(self, sandbox: str, job_id: str) -> str | None:
        exists = (sandbox, job_id) in self.jobs
        return f"{self.root}{job_file(sandbox, job_id)}" if exists else None

    def dataset(self, sandbox: str, dataset_id: str) -> str | None:
        exists = (sandbox, dataset_id) in self.datasets
        return f"{self.root}{dataset_file(sandbox, dataset_id)}" if exists else None

    def asset(self, name: str) -> str:
        return f"{self.root}assets/{name}"


def job_file(sandbox: str, job_id: str) -> str:
    return f"job/{_file_name(sandbox)}.{_file_name(job_id)}.html"


def dataset_file(sandbox: str, dataset_id: str) -> str:
    return f"dataset/{_file_name(sandbox)}.{_file_name(dataset_id)}.html"


def anchor(sandbox: str, name: str) -> str:
    """The id of an expectation's element."""
    return f"expectation.{_file_name(sandbox)}.{_file_name(name)}"


def _file_name(text: str) -> str:
    """The text, if it can be a file's name in any file system; otherwise its hash."""
    if _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    return f"_{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:24]}"
