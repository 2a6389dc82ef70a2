"""The configuration of a local Segmentation service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from export_jobs.aws.clock import now_ms

from export_jobs_local.segmentation.counting import CountingEngine
from export_jobs_local.segmentation.engine import ExportEngine

API_PATH = "/data/core/ups"
IMS_PATH = "/ims/token/v3"
ACCESS_CONTROL_PATH = "/data/foundation/access-control/acl"
MAY_CREATE = "export-audience-for-segment"
"""Adobe's permission to create export jobs."""
PERMISSIONS = {
    MAY_CREATE: {"segments": ["read"]},
    "manage-datasets": {
        "connection": ["read", "write", "delete"],
        "datasets": ["read", "write", "delete"],
    },
}
"""Some permissions with the rights that they include, as Adobe's example has them."""


@dataclass(frozen=True)
class ServiceConfig:
    """`data_dir`: where jobs and the key of tokens are kept; None means a temporary directory.

    `pace_s`: how long a job stays NEW; `run_s`: how long PROCESSING, before it exports. `manual`:
    only the control changes the status of jobs. `max_running` jobs run at once; others stay NEW.
    """

    data_dir: Path | None = None
    port: int = 0
    org_id: str = "1BD6382559DF0C130A49422D@AdobeOrg"
    other_orgs: tuple[str, ...] = ()
    """Further organisations that the client may act for."""
    sandboxes: tuple[str, ...] = ("prod", "dev")
    create_denied_in: tuple[str, ...] = ()
    """Sandboxes in which the credential lacks the permission to create jobs."""
    client_id: str = "local-client-id"
    client_secret: str = field(default="local-client-secret", repr=False)
    scopes: str = "openid,AdobeID,read_organizations"
    token_lifetime_s: int = 86_399
    pace_s: float = 1.0
    run_s: float = 1.0
    manual: bool = False
    max_running: int = 4
    echo_request_id: bool = False
    delete_answers: int = 200
    """200 with a body, or 204 without one: a 204 can't carry the body that the seed shows."""
    max_limit: int = 1_000
    seed: int = 0
    clock: Callable[[], int] = now_ms
    """Epoch milliseconds."""
    engine: Callable[[Path], ExportEngine] = field(default=lambda _directory: CountingEngine())
    """Makes the engine, given the data directory."""
