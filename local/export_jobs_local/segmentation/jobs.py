"""The lifecycle of the service's jobs, as clients see them: created, run, cancelled."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from export_jobs.contract import FINAL_STATUSES, CreateExportJob, parse_create_request

from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportCancelled,
    ExportEngine,
    ExportFailed,
    Resolved,
)
from export_jobs_local.segmentation.store import JobStore, StoredJob


@dataclass(frozen=True)
class _Run:
    """One job's run in the engine, queued or running."""

    cancelled: threading.Event
    future: Future[None]


@dataclass(frozen=True)
class PastRun:
    """A job that has succeeded before: its creation time in epoch milliseconds, and its results."""

    created: int
    duration_ms: int
    profiles: int


class JobLifecycle:
    """Creates jobs and runs them: NEW, PROCESSING, SUCCEEDED or FAILED; CANCELLING, CANCELLED.

    With `manual`, only the control changes the status of jobs. A job that has ended keeps its
    status.
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
        self._runs: dict[int, _Run] = {}
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._last_creation = 0
        self._pool = ThreadPoolExecutor(max_workers=max_running, thread_name_prefix="export")

    def resume(self) -> None:
        """Restarts the jobs that an earlier run of the service left open."""
        if self._manual:
            return
        for job in self._store.unfinished():
            if not job.request:
                continue  # created through the control: there is nothing to run
            if job.status == "CANCELLING":
                self._end_cancelled(job, None)
            else:
                self._submit(job)

    def stop(self) -> None:
        """Stops the running exports; their jobs stay open, and restart at the next start."""
        self._stopping.set()
        with self._lock:
            for run in self._runs.values():
                run.cancelled.set()
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
        body = self._new(request, org=org, instance=instance, created=self._creation_time())
        job = self._store.add(
            org=org,
            sandbox=sandbox,
            body={**body, "requestId": request_id},
            request=request.to_wire(),
            visible_after=visible_after,
        )
        if not self._manual:
            self._submit(job)
        return job

    def add_history(
        self, request: CreateExportJob, runs: Sequence[PastRun], *, org: str, sandbox: str
    ) -> None:
        """Adds jobs of a request that have succeeded before; they have exported nothing here."""

        def body(run: PastRun) -> Mapping[str, Any]:
            ended = run.created + run.duration_ms
            return {
                **self._new(request, org=org, instance="ups", created=run.created),
                "status": "SUCCEEDED",
                "metrics": {
                    "totalTime": _span(run.created, ended),
                    "totalExportedProfileCounter": run.profiles,
                },
                "updateTime": ended,
            }

        self._store.add_history(org=org, sandbox=sandbox, bodies=map(body, runs))

    def _new(
        self, request: CreateExportJob, *, org: str, instance: str, created: int
    ) -> dict[str, Any]:
        """A job as the service shows it when it is created."""
        asked = request.to_wire()
        resolved = self._engine.resolve(request)
        return {
            "jobType": "BATCH",
            "destination": _destination(request, resolved),
            "fields": request.fields,
            "schema": asked["schema"],
            "imsOrgId": org,
            "status": "NEW",
            "filter": _filter(request, resolved),
            **(
                {"additionalFields": asked["additionalFields"]} if request.additional_fields else {}
            ),
            "mergePolicy": dict(resolved.merge_policy),
            "profileInstanceId": instance,
            "errors": [],
            "metrics": {"totalTime": {"startTimeInMs": created}},
            "computeGatewayJobId": {"exportJob": ""},
            "creationTime": created,
            "updateTime": created,
        }

    def cancel(self, job: StoredJob) -> bool:
        """Marks a job for cancelling; one that is still queued is cancelled at once.

        Returns False if it has already ended.
        """
        with self._lock:
            current = self._store.get(job.id)
            if current is None or current.status in FINAL_STATUSES:
                return False
            if current.status != "CANCELLING":
                self._change(job.id, {"status": "CANCELLING"})
            if self._stop_run(job.id):
                self._end_cancelled(job, None)
        return True

    def script(self, number: int, changes: Mapping[str, Any]) -> StoredJob | None:
        """Changes a job for the control; stops it if it has ended or is to be cancelled."""
        with self._lock:
            changed = self._store.change(number, {"updateTime": self._clock(), **changes})
            if changed and changed.status in FINAL_STATUSES | {"CANCELLING"}:
                self._stop_run(number)
            return changed

    def remove(self, number: int) -> bool:
        """Removes a job; stops its run, which removes what it has written."""
        with self._lock:
            self._stop_run(number)
            return self._store.remove(number, at=self._clock())

    def _creation_time(self) -> int:
        """The clock's time, but never the same twice, as clients page by it."""
        with self._lock:
            self._last_creation = max(self._clock(), self._last_creation + 1)
            return self._last_creation

    def _submit(self, job: StoredJob) -> None:
        with self._lock:  # the end of the run waits for this
            cancelled = threading.Event()
            self._runs[job.id] = _Run(cancelled, self._pool.submit(self._run, job, cancelled))

    def _stop_run(self, number: int) -> bool:
        """Stops a job's run. Returns True if it had not begun, and now never will."""
        run = self._runs.get(number)
        if run is None:
            return False
        run.cancelled.set()
        if not run.future.cancel():
            return False
        del self._runs[number]
        return True

    def _change(self, number: int, changes: Mapping[str, Any]) -> None:
        self._store.change(number, {"updateTime": self._clock(), **changes})

    def _run(self, job: StoredJob, cancelled: threading.Event) -> None:
        try:
            self._run_until(job, cancelled)
        finally:
            with self._lock:
                self._runs.pop(job.id, None)

    def _run_until(self, job: StoredJob, cancelled: threading.Event) -> None:
        started = None
        try:
            _wait(cancelled, self.pace_s)
            started = self._begin(job)
            _wait(cancelled, self.run_s)
            request = parse_create_request(job.request)
            result = self._engine.run(request, _batch_ids(job), cancelled)
        except ExportCancelled:
            if not self._stopping.is_set():
                self._end_cancelled(job, started)
        except ExportFailed as failure:
            self._end(job, started, {"status": "FAILED", "errors": _errors(failure.errors)})
        except Exception as error:  # noqa: BLE001  a broken engine fails the job, not the service
            trace = traceback.format_exc(limit=-5)
            broken = EngineError("0090000009", f"The export failed: {error}", trace)
            self._end(job, started, {"status": "FAILED", "errors": _errors([broken])})
        else:
            counters = {
                "totalExportedProfileCounter": result.profiles_exported,
                "exportedProfileByNamespaceCounter": result.profiles_by_namespace,
            }
            if not self._end(job, started, {"status": "SUCCEEDED"}, counters):
                self._end_cancelled(job, started)

    def _begin(self, job: StoredJob) -> int:
        """Sets a job to PROCESSING; returns the time. Raises ExportCancelled if it must not run."""
        with self._lock:
            current = self._store.get(job.id)
            if current is None or current.status in FINAL_STATUSES | {"CANCELLING"}:
                raise ExportCancelled
            started = self._clock()
            self._change(
                job.id,
                {
                    "status": "PROCESSING",
                    "computeGatewayJobId": {"exportJob": str(uuid.uuid4())},
                },
            )
        return started

    def _end_cancelled(self, job: StoredJob, started: int | None) -> None:
        """Ends a job CANCELLED; removes what it, or a run before a crash, has written."""
        self._engine.discard(parse_create_request(job.request), _batch_ids(job))
        self._end(job, started, {"status": "CANCELLED"})

    def _end(
        self,
        job: StoredJob,
        started: int | None,
        changes: Mapping[str, Any],
        counters: Mapping[str, Any] | None = None,
    ) -> bool:
        """Ends a job unless it has ended or is gone; one marked for cancelling ends CANCELLED.

        Returns False if it did not end as intended.
        """
        with self._lock:
            current = self._store.get(job.id)
            if current is None or current.status in FINAL_STATUSES:
                return False
            if current.status == "CANCELLING":
                if changes["status"] == "SUCCEEDED":
                    return False
                changes = {"status": "CANCELLED"}
            ended = self._clock()
            metrics = {
                "totalTime": _span(job.created, ended),
                **({} if started is None else {"profileExportTime": _span(started, ended)}),
                **(counters or {}),
            }
            self._change(job.id, {**changes, "metrics": metrics, "updateTime": ended})
        return True


def _wait(cancelled: threading.Event, seconds: float) -> None:
    if cancelled.wait(seconds):
        raise ExportCancelled


def _destination(request: CreateExportJob, resolved: Resolved) -> dict[str, Any]:
    wanted = request.destination
    base = {"datasetId": wanted.dataset_id, "segmentPerBatch": wanted.segment_per_batch}
    segments = (request.filter.segments if request.filter else None) or []
    if not wanted.segment_per_batch or not segments:
        return {**base, "batchId": uuid.uuid4().hex}
    batches = [
        {
            "segmentId": segment.segment_id,
            "segmentNs": namespace or segment.segment_ns,
            "status": list(segment.status),
            "batchId": uuid.uuid4().hex,
        }
        for segment, namespace in zip(segments, resolved.namespaces, strict=True)
    ]
    return {**base, "batches": batches}


def _filter(request: CreateExportJob, resolved: Resolved) -> dict[str, Any]:
    """The filter as requested, with the defaults of its segments filled in, as the service does.

    Without a requested namespace, `ups` is shown, unless the segment is in another one: then none
    is shown, so that a client that compares the job with its request finds no difference.
    """
    if request.filter is None:
        return {}
    asked = request.filter.model_dump(by_alias=True, exclude_unset=True)
    if request.filter.segments:
        asked["segments"] = [
            segment.model_dump(
                by_alias=True,
                exclude={"segment_ns"} if namespace not in {None, segment.segment_ns} else None,
            )
            for segment, namespace in zip(request.filter.segments, resolved.namespaces, strict=True)
        ]
    return asked


def _batch_ids(job: StoredJob) -> list[str]:
    """Those that the answer to the create call has named; several are one per segment."""
    destination = job.body["destination"]
    return [batch["batchId"] for batch in destination.get("batches", [destination])]


def _errors(errors: Sequence[EngineError]) -> list[dict[str, str]]:
    return [{"code": e.code, "msg": e.message, "callStack": e.call_stack} for e in errors]


def _span(start: int, end: int) -> dict[str, int]:
    return {"startTimeInMs": start, "endTimeInMs": end, "totalTimeInMs": end - start}
