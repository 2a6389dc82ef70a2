"""An alternative that can be run: Adobe's community client, `aepp`."""

from __future__ import annotations

from collections.abc import Sequence

from export_jobs.aws.clock import now_ms
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService

from benchmarks.stage import new_token


def pages_that_aepp_reads(histories: Sequence[int]) -> dict[int, int]:
    """The API calls of one `getExportJobs` against the local service, by number of jobs."""
    import aepp  # noqa: PLC0415  needs pandas; only here
    from aepp import segmentation  # noqa: PLC0415

    found = {}
    with SegmentationService(ServiceConfig(manual=True)) as service:
        aepp.configure(
            org_id=service.org_id,
            client_id=service.client_id,
            scopes=service.scopes,
            sandbox="prod",
            environment="support",  # the only one that accepts another endpoint
            endpoint=service.root_url,
            accesstoken=new_token(
                service.ims_url, service.client_id, service.client_secret, service.scopes
            ),
        )
        # aepp 0.6 needs this, but does not set it if it gets a token.
        aepp.config.config_object["connectionType"] = "support"
        client = segmentation.Segmentation()
        there = 0
        for jobs in histories:
            service.control.add_history(jobs - there, newest=now_ms() - there * 1_000)
            there = jobs
            service.control.forget_calls()
            listed = client.getExportJobs()
            assert len(listed) == jobs, (len(listed), jobs)
            found[jobs] = service.control.calls()["list"]
    return found
