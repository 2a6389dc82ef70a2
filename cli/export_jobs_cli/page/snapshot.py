"""Writes the pages as files, for people who may not read the stack: they need no server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from export_jobs.model.baselines import Baseline
from export_jobs.model.calendar import DAY_MINUTES

from export_jobs_cli.directories import writable
from export_jobs_cli.errors import UserError
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.page.addresses import FileAddresses, dataset_file, job_file
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.overview import DAYS
from export_jobs_cli.page.pages import Page, Pages
from export_jobs_cli.page.rendering import ASSETS, Frame, Renderer

INDEX: Final = "index.html"
MAX_JOBS: Final = 5_000
"""Jobs of a sandbox that get a page: the newest."""
_MARK: Final = ".export-jobs-snapshot"
_FOLDERS: Final = ("job", "dataset")
_ASSETS: Final = ("page.css", "icon.svg")
_AT_ONCE: Final = 100
"""Jobs whose requests are read in one call."""
_PAST_MS: Final = DAYS * DAY_MINUTES * 60_000


@dataclass(frozen=True)
class Snapshot:
    """What was written: the file to open, and the number of pages."""

    index: Path
    pages: int


def write(pages: Pages, directory: Path) -> Snapshot:
    """Writes all pages, and removes those of the last snapshot that are no longer there.

    All of them show the same moment. A reader finds each file complete, old or new. Raises
    UserError if the directory can't be used.
    """
    try:
        return _write(pages.as_of_now(), directory)
    except OSError as error:
        where = error.filename or directory
        raise UserError(f"can't write {where}: {error.strerror}") from None


def _write(pages: Pages, directory: Path) -> Snapshot:
    _begin(directory)
    readings = pages.readings()
    jobs = [job for reading in readings for job in _with_a_page(reading)]
    datasets = {
        (reading.sandbox, dataset) for reading in readings for dataset in _datasets_of(reading)
    }
    # Its readers may have no access to the AWS console.
    frame = Frame(pages.system.name, links=(), is_live=False)
    known_jobs = {(job.sandbox, job.id) for job in jobs}

    def renderer(root: str) -> Renderer:
        return Renderer(pages, FileAddresses(root, known_jobs, datasets), frame)

    top, below = renderer(""), renderer("../")
    for name in _ASSETS:
        _replace(directory / "assets" / name, (ASSETS / name).read_bytes())
    written = set()
    for renders, file, page in _every_page(pages, jobs, sorted(datasets), top, below):
        _replace(directory / file, renders.page(page).encode())
        written.add(file)
    for folder in _FOLDERS:
        for left in (directory / folder).glob("*.html"):
            if f"{folder}/{left.name}" not in written:
                left.unlink(missing_ok=True)  # another snapshot may have removed it
    return Snapshot(directory / INDEX, len(written))


def _every_page(
    pages: Pages,
    jobs: Sequence[KnownJob],
    datasets: Sequence[tuple[str, str]],
    top: Renderer,
    below: Renderer,
) -> Iterator[tuple[Renderer, str, Page]]:
    """Each page with its file; the overview comes last, when what it links to exists."""
    baseline_of = _baselines(pages)
    for start in range(0, len(jobs), _AT_ONCE):
        some = jobs[start : start + _AT_ONCE]
        keys = [job.request_key for job in some if job.request_key]
        found = pages.system.store.requests(keys) if keys else {}
        for job in some:
            page = pages.job(job.sandbox, job.id, request_of=found.get, baseline_of=baseline_of)
            yield below, job_file(job.sandbox, job.id), page
    for sandbox, dataset in datasets:
        page = pages.dataset(sandbox, dataset, baseline_of=baseline_of)
        yield below, dataset_file(sandbox, dataset), page
    yield top, "requests.html", pages.requests()
    yield top, "expectations.html", pages.expectations()
    yield top, INDEX, pages.overview()


def _with_a_page(reading: Reading) -> Sequence[KnownJob]:
    """The jobs that the pages can link to, newest first, one for each id."""
    windows = {past.job_id for record in reading.expectations for past in record.history}
    since = reading.read_at - _PAST_MS
    by_id = {
        job.id: job
        for job in reversed(reading.jobs)
        if job.created_at >= since or not job.is_final or job.id in windows
    }
    return list(by_id.values())[::-1][:MAX_JOBS]


def _datasets_of(reading: Reading) -> Iterator[str]:
    yield from filter(None, reading.by_dataset)
    for record in reading.expectations:
        if record.can_be_read:
            yield record.expectation.dataset_id


def _baselines(pages: Pages) -> Callable[[str, str], Baseline | None]:
    """Reads those of a sandbox at once."""

    @cache
    def of(sandbox: str) -> dict[str, Baseline]:
        return {one.kind: one for one in pages.system.store.every_baseline(sandbox)}

    return lambda sandbox, kind: of(sandbox).get(kind)


def _begin(directory: Path) -> None:
    """Marks the directory as a snapshot's, unless it has such files of somebody else."""
    mark = writable(directory) / _MARK
    others = [name for name in (INDEX, *_FOLDERS, "assets") if (directory / name).exists()]
    if others and not mark.exists():
        raise UserError(
            f"{directory} has {others[0]!r}, which no snapshot wrote and this one would replace; "
            "choose another directory"
        )
    mark.write_text("The next snapshot in this directory replaces its pages.\n")
    for folder in (*_FOLDERS, "assets"):
        (directory / folder).mkdir(exist_ok=True)


def _replace(file: Path, content: bytes) -> None:
    """Through a file of its own: another snapshot may be written at the same time."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as fresh:
        try:
            fresh.write(content)
            fresh.flush()
            Path(fresh.name).chmod(0o644)  # a temporary file is its owner's only
            Path(fresh.name).replace(file)
        except BaseException:
            Path(fresh.name).unlink(missing_ok=True)
            raise
