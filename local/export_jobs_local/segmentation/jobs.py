"""The life of the service's jobs: created, run by an engine, cancelled, as clients see them."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from export_jobs.contract import FINAL_STATUSES, CreateExportJob, parse_create_request

from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportCancelled,
    ExportEngine,
    ExportFailed,
    PlannedBatch,
)
from export_jobs_local.segmentation.store import JobStore, StoredJob

DEFAULT_MERGE_POLICY = {"id": "timestampOrdered-none-mp", "version": 1}


class JobLife:
    """Creates jobs and moves them on: NEW, PROCESSING, SUCCEEDED or FAILED; CANCELLING, CANCELLED.

    With `manual` nothing moves by itself; scripts move jobs through the store.
    """

    def __init__(
        self,
        store: JobStore,
        engine: ExportEngine,
        *,
        pace_s: float,
        run_s: float,
        manual: bool,
        max_running: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self.pace_s = pace_s
        self.run_s = run_s
        self._manual = manual
        self._cancelled: dict[int, threading.Event] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._last_creation = 0
        self._pool = ThreadPoolExecutor(max_workers=max_running, thread_name_prefix="export")

    def resume(self) -> None:
        """Takes up, from their beginning, the jobs that an earlier run of the service left open."""
        if self._manual:
            return
        for job in self._store.unfinished():
            cancelled = self._watch(job.id)
            if job.status == "CANCELLING":
                cancelled.set()
            self._pool.submit(self._run, job)

    def stop(self) -> None:
        """Stops the running exports; their jobs stay open and are taken up at the next start."""
        self._stopping.set()
        for event in list(self._cancelled.values()):
            event.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def create(
        self,
        request: CreateExportJob,
        *,
        org: str,
        sandbox: str,
        request_id: str,
        instance: str,
        visible_after: int = 0,
    ) -> StoredJob:
        asked = request.to_wire()
        created = self._creation_time()
        body = {
            "jobType": "BATCH",
            "destination": _destination(request),
            "fields": request.fields,
            "schema": asked["schema"],
            "imsOrgId": org,
            "status": "NEW",
            "filter": _filter(request),
            **(
                {"additionalFields": asked["additionalFields"]} if request.additional_fields else {}
            ),
            "mergePolicy": asked.get("mergePolicy") or DEFAULT_MERGE_POLICY,
            "profileInstanceId": instance,
            "errors": [],
            "metrics": {"totalTime": {"startTimeInMs": created}},
            "computeGatewayJobId": {"exportJob": ""},
            "creationTime": created,
            "updateTime": created,
            "requestId": request_id,
        }
        job = self._store.add(
            org=org, sandbox=sandbox, body=body, request=asked, visible_after=visible_after
        )
        if not self._manual:
            self._watch(job.id)
            self._pool.submit(self._run, job)
        return job

    def cancel(self, job: StoredJob) -> bool:
        """Marks a job for cancelling. False if it has ended already."""
        with self._lock:
            current = self._store.get(job.id)
            if current is None or current.status in FINAL_STATUSES:
                return False
            if current.status != "CANCELLING":
                self._change(job.id, {"status": "CANCELLING"})
            if job.id in self._cancelled:
                self._cancelled[job.id].set()
        return True

    def _creation_time(self) -> int:
        """The clock's, but never the same twice: clients page by it."""
        with self._lock:
            self._last_creation = max(self._clock(), self._last_creation + 1)
            return self._last_creation

    def _watch(self, number: int) -> threading.Event:
        return self._cancelled.setdefault(number, threading.Event())

    def _change(self, number: int, changes: Mapping[str, Any]) -> None:
        self._store.change(number, {"updateTime": self._clock(), **changes})

    def _move(self, number: int, changes: Mapping[str, Any]) -> bool:
        """Changes a job unless it has been marked for cancelling meanwhile."""
        with self._lock:
            current = self._store.get(number)
            if current is None or current.status == "CANCELLING":
                return False
            self._change(number, changes)
        return True

    def _run(self, job: StoredJob) -> None:
        cancelled = self._watch(job.id)
        try:
            self._run_until(job, cancelled)
        finally:
            self._cancelled.pop(job.id, None)

    def _run_until(self, job: StoredJob, cancelled: threading.Event) -> None:
        cancelled.wait(self.pace_s)
        started = self._clock()
        processing = {
            "status": "PROCESSING",
            "computeGatewayJobId": {"exportJob": str(uuid.uuid4())},
        }
        if not cancelled.is_set():
            self._move(job.id, processing)
        try:
            request = parse_create_request(job.request)
            cancelled.wait(self.run_s)
            result = self._engine.run(request, _planned(job), cancelled)
        except ExportCancelled:
            if not self._stopping.is_set():
                self._end(job, started, {"status": "CANCELLED"})
        except ExportFailed as failure:
            self._end(job, started, {"status": "FAILED", "errors": _errors(failure.errors)})
        except Exception as error:  # noqa: BLE001  a broken engine fails the job, not the service
            trace = traceback.format_exc(limit=-5)
            broken = EngineError("0090000009", f"The export broke: {error}", trace)
            self._end(job, started, {"status": "FAILED", "errors": _errors([broken])})
        else:
            counters = {
                "totalExportedProfileCounter": result.profiles_exported,
                "exportedProfileByNamespaceCounter": result.profiles_by_namespace,
            }
            if not self._end(job, started, {"status": "SUCCEEDED"}, counters):
                self._engine.discard(request, _planned(job))
                self._end(job, started, {"status": "CANCELLED"})

    def _end(
        self,
        job: StoredJob,
        started: int,
        changes: Mapping[str, Any],
        counters: Mapping[str, Any] | None = None,
    ) -> bool:
        """Ends a job. A success that a cancellation has overtaken does not count (False)."""
        ended = self._clock()
        metrics = {
            "totalTime": _span(job.created, ended),
            "profileExportTime": _span(started, ended),
            **(counters or {}),
        }
        ending = {**changes, "metrics": metrics, "updateTime": ended}
        if changes["status"] == "SUCCEEDED":
            return self._move(job.id, ending)
        with self._lock:
            self._change(job.id, ending)
        return True


def _destination(request: CreateExportJob) -> dict[str, Any]:
    wanted = request.destination
    base = {"datasetId": wanted.dataset_id, "segmentPerBatch": wanted.segment_per_batch}
    segments = (request.filter.segments if request.filter else None) or []
    if not wanted.segment_per_batch or not segments:
        return {**base, "batchId": uuid.uuid4().hex}
    batches = [
        {
            "segmentId": segment.segment_id,
            "segmentNs": segment.segment_ns,
            "status": list(segment.status),
            "batchId": uuid.uuid4().hex,
        }
        for segment in segments
    ]
    return {**base, "batches": batches}


def _filter(request: CreateExportJob) -> dict[str, Any]:
    """The filter as asked, with the defaults of its segments spelt out as the service does."""
    if request.filter is None:
        return {}
    asked = request.filter.model_dump(by_alias=True, exclude_unset=True)
    if request.filter.segments:
        asked["segments"] = [s.model_dump(by_alias=True) for s in request.filter.segments]
    return asked


def _planned(job: StoredJob) -> list[PlannedBatch]:
    destination = job.body["destination"]
    if "batches" not in destination:
        return [PlannedBatch(destination["batchId"])]
    return [
        PlannedBatch(batch["batchId"], batch["segmentId"], batch["segmentNs"])
        for batch in destination["batches"]
    ]


def _errors(errors: Sequence[EngineError]) -> list[dict[str, str]]:
    return [{"code": e.code, "msg": e.message, "callStack": e.call_stack} for e in errors]


def _span(start: int, end: int) -> dict[str, int]:
    return {"startTimeInMs": start, "endTimeInMs": end, "totalTimeInMs": end - start}
