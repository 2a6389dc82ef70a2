"""The parts of one running service, and their control for tests and experiments."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_jobs.contract import parse_create_request

from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.counting import DEFAULT_MERGE_POLICY
from export_jobs_local.segmentation.faults import Call, Fault, FaultPlan
from export_jobs_local.segmentation.jobs import JobLifecycle, PastRun
from export_jobs_local.segmentation.schedules import ScheduleStore
from export_jobs_local.segmentation.store import JobStore, JournalEntry, StoredJob
from export_jobs_local.segmentation.tokens import TokenIssuer

MAX_LOGGED_CALLS = 10_000
_MAX_LOGGED_PATH = 200


@dataclass(frozen=True)
class LoggedCall:
    """One call that the service received, and its answer's status (0: none, due to a fault)."""

    call: Call
    path: str
    status: int


class ServiceState:
    """Stores, lifecycle of the jobs, tokens, planned faults and the log of calls."""

    def __init__(self, config: ServiceConfig, directory: Path) -> None:
        self.config = config
        self.echo_request_id = config.echo_request_id
        self.create_denied_in = frozenset(config.create_denied_in)
        self.store = JobStore(directory)
        self.schedules = ScheduleStore(directory)
        self.tokens = TokenIssuer(directory, lifetime_s=config.token_lifetime_s)
        self.lifecycle = JobLifecycle(
            self.store,
            config.engine(directory),
            pace_s=config.pace_s,
            run_s=config.run_s,
            manual=config.manual,
            max_running=config.max_running,
            clock=config.clock,
        )
        self.faults = FaultPlan(config.seed)
        self._lock = threading.Lock()
        self._calls: deque[LoggedCall] = deque(maxlen=MAX_LOGGED_CALLS)
        self._counts: Counter[str] = Counter()
        self.refuse: Callable[[float], None] = _no_port_to_close
        """Closes the port for a number of seconds; set by the server."""

    def refuse_if_due(self) -> None:
        """Closes the port if the next call is to be refused."""
        if fault := self.faults.due_refusal():
            self.refuse(fault.seconds)

    def count(self, call: Call) -> None:
        """Counts a call before it is answered, so that its caller finds it counted."""
        with self._lock:
            self._counts[call] += 1

    def log(self, call: Call, path: str, status: int) -> None:
        with self._lock:
            self._calls.append(LoggedCall(call, path[:_MAX_LOGGED_PATH], status))

    def calls(self) -> tuple[Counter[str], list[LoggedCall]]:
        """The number of calls of each kind, and the last `MAX_LOGGED_CALLS` calls."""
        with self._lock:
            return self._counts.copy(), list(self._calls)

    def forget_calls(self) -> None:
        with self._lock:
            self._calls.clear()
            self._counts.clear()

    def close(self) -> None:
        self.lifecycle.stop()
        self.store.close()
        self.schedules.close()


def _no_port_to_close(_seconds: float) -> None:
    raise RuntimeError("the service has no server, and so no port to close")


class Control:
    """The control, for callers in the same process."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def journal(self, sandbox: str | None = None) -> list[JournalEntry]:
        """Every status that every job ever had, in order: what really happened."""
        return self._state.store.journal(sandbox=sandbox)

    def jobs(self, sandbox: str) -> list[StoredJob]:
        return self._state.store.page(
            org=self._state.config.org_id,
            sandbox=sandbox,
            limit=None,
            after=None,
            status=None,
            now=2**62,
        )

    def create_job(
        self,
        sandbox: str = "prod",
        *,
        status: str = "NEW",
        created: int | None = None,
        **fields: Any,
    ) -> StoredJob:
        """Creates a job as another client would, with any fields."""
        given: dict[str, Any] = {"status": status}
        if created is not None:
            given["creationTime"] = created
        return self.add_job(sandbox, {**given, **fields})

    def add_job(self, sandbox: str, fields: Mapping[str, Any]) -> StoredJob:
        """The same, with all fields by the service's names for them."""
        at = fields.get("creationTime", self._state.config.clock())
        body = {
            "jobType": "BATCH",
            "destination": {
                "datasetId": "5b7c86968f7b6501e21ba9df",
                "segmentPerBatch": False,
                "batchId": "da5cfb4de32c4b93a09f7e37fa53ad52",
            },
            "fields": "",
            "schema": {"name": "_xdm.context.profile"},
            "imsOrgId": self._state.config.org_id,
            "status": "NEW",
            "filter": {},
            "mergePolicy": DEFAULT_MERGE_POLICY,
            "profileInstanceId": "ups",
            "errors": [],
            "metrics": {"totalTime": {"startTimeInMs": at}},
            "computeGatewayJobId": {"exportJob": ""},
            "creationTime": at,
            "updateTime": at,
            "requestId": f"other-{at}",
            **fields,
        }
        return self._state.store.add(
            org=self._state.config.org_id, sandbox=sandbox, body=body, request={}
        )

    def change_job(self, job_id: int, /, **fields: Any) -> StoredJob | None:
        """Changes fields of a job; `updateTime` is the present unless given."""
        return self._state.lifecycle.script(job_id, fields)

    def set_status(self, job_id: int, status: str, **fields: Any) -> StoredJob | None:
        return self.change_job(job_id, status=status, **fields)

    def delete_job(self, job_id: int) -> bool:
        """Deletes a job without a call of the API."""
        return self._state.lifecycle.remove(job_id)

    def add_history(
        self, count: int, *, sandbox: str = "prod", newest: int, spacing_ms: int = 1_000
    ) -> None:
        """Adds `count` jobs that have ended, the newest created at `newest`; no journal entries."""
        org = self._state.config.org_id

        def body(position: int) -> Mapping[str, Any]:
            at = newest - (count - position - 1) * spacing_ms
            return {
                "status": "SUCCEEDED",
                "imsOrgId": org,
                "destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
                "creationTime": at,
                "updateTime": at + 500,
            }

        self._state.store.add_history(
            org=org, sandbox=sandbox, bodies=(body(position) for position in range(count))
        )

    def add_past_runs(self, sandbox: str, job: Mapping[str, Any], runs: Sequence[PastRun]) -> None:
        """Adds jobs of the same POST body that have succeeded before; no journal entries."""
        self._state.lifecycle.add_history(
            parse_create_request(job), runs, org=self._state.config.org_id, sandbox=sandbox
        )

    def create_schedule(self, sandbox: str, /, **fields: Any) -> dict[str, Any]:
        """Creates a schedule, which is only shown; fields by the service's names for them."""
        return self._state.schedules.add(
            org=self._state.config.org_id,
            sandbox=sandbox,
            fields=fields,
            now_s=self._state.config.clock() // 1000,
        )

    def delete_schedule(self, number: str) -> bool:
        return self._state.schedules.remove(number)

    def plan_fault(self, call: Call, kind: str, **details: Any) -> None:
        """Plans a fault; see `faults.Fault` for the details."""
        self._state.faults.plan(Fault.model_validate({"call": call, "kind": kind, **details}))
        self._state.refuse_if_due()

    def clear_faults(self) -> None:
        self._state.faults.clear()

    def pending_faults(self) -> list[Fault]:
        return self._state.faults.pending()

    def calls(self) -> Counter[str]:
        """How many calls of each kind have come in since the last `forget_calls`."""
        return self._state.calls()[0]

    def forget_calls(self) -> None:
        self._state.forget_calls()

    def expire_tokens(self) -> None:
        self._state.tokens.revoke_all()

    def deny_create(self, *sandboxes: str) -> None:
        """Takes the permission to create jobs away in these sandboxes; grants it in all others."""
        self._state.create_denied_in = frozenset(sandboxes)

    def echo_request_id(self, on: bool) -> None:
        self._state.echo_request_id = on
