"""Promise 6 for the function as deployed: what a quiet sweep calls."""

from __future__ import annotations

import pytest
from support.quiet import first_sweeps


@pytest.mark.parametrize("sandboxes", [("prod",), ("prod", "dev")])
def test_a_quiet_sweep_reads_the_listing_and_the_table_and_nothing_else(
    sandboxes: tuple[str, ...],
) -> None:
    """By the deployed function, once a sandbox; the secret and a token are read by the first run."""
    first, *quiet = first_sweeps(4, sandboxes=sandboxes)
    assert first.aws.count("secretsmanager:GetSecretValue") == first.api["token"] == 1
    for sweep in quiet:
        assert sweep.aws == ("dynamodb:Query",) * len(sandboxes)
        assert sweep.api == {"list": len(sandboxes)}
