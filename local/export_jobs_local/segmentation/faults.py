"""Planned faults: which calls fail, how and how often, for tests and experiments."""

from __future__ import annotations

import random
import threading
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Call = Literal["list", "get", "create", "delete", "token", "policies", "reference", "schedules"]
FaultKind = Literal[
    "refuse",
    "reset_before",
    "reset_after",
    "timeout_before",
    "timeout_after",
    "slow_drip",
    "http",
    "truncated",
    "not_json",
    "duplicate_record",
    "omit_job",
    "stale_job",
    "late_job",
    "delete_job",
]


MAX_JOB_ID = 10**15 - 1
"""The highest job id that the API accepts; SQLite's integers go further."""


class Fault(BaseModel):
    """One planned fault.

    It strikes calls of the kind `call` after `after` matching ones, `times` times (0: for ever),
    each with `probability`. `reset_after`, `timeout_after`, `truncated` and `not_json` let the call
    take effect; `reset_before`, `timeout_before` and `http` prevent it.

    `refuse` differs from the others, as a refused connection has no call yet: once `after` matching
    calls have arrived (they are answered), nothing listens on the port for `seconds`.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    call: Call
    kind: FaultKind
    times: Annotated[int, Field(ge=0, description="0: for ever")] = 1
    after: Annotated[int, Field(ge=0, description="matching calls to let pass first")] = 0
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    status: Annotated[int, Field(ge=400, le=599, description="for `http`")] = 503
    retry_after: Annotated[
        str | None,
        Field(
            description="for `http`: seconds or an HTTP date",
            pattern=r"^[!-~]([ -~]*[!-~])?$",
            max_length=100,
        ),
    ] = None
    seconds: Annotated[
        float,
        Field(ge=0, le=3600, description="how long a refusal, timeout, drip or delay lasts"),
    ] = 30.0
    job_id: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_JOB_ID,
            description="for faults about one job; by default the newest",
        ),
    ] = None

    @model_validator(mode="after")
    def _refuses_once(self) -> Self:
        if self.kind == "refuse" and (self.times != 1 or self.probability != 1):
            raise ValueError("refuse occurs exactly once: leave out times and probability")
        return self


class FaultPlan:
    """The planned faults, tried in order, with seeded random numbers. Thread-safe."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random()  # noqa: S311  repeatable on purpose
        self.seed(seed)
        self._faults: list[Fault] = []

    def seed(self, seed: int) -> None:
        """Restarts the random sequence."""
        with self._lock:
            self._chance.seed(seed)

    def plan(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault.model_copy())

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        with self._lock:
            return [fault.model_copy() for fault in self._faults]

    def strike(self, call: Call) -> Fault | None:
        """The fault that strikes this call, if any; counts it as used once."""
        with self._lock:
            for fault in self._faults:
                if fault.call != call:
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.kind == "refuse":
                    continue
                if self._chance.random() >= fault.probability:
                    continue
                if fault.times:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def due_refusal(self) -> Fault | None:
        """The refusal that is due at the next matching call, if any; removes it."""
        with self._lock:
            for fault in self._faults:
                if fault.kind == "refuse" and fault.after == 0:
                    self._faults.remove(fault)
                    return fault
        return None
