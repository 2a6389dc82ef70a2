"""What doctor makes of a policy: allowed, not allowed, or not known."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs_cli.doctor.policies import Asked, allows

ACCOUNT = "123456789012"
ALARM = f"arn:aws:cloudwatch:eu-west-1:{ACCOUNT}:alarm:export-jobs-queue-old"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"
ASKED = Asked(
    "cloudwatch.amazonaws.com",
    "kms:Decrypt",
    KEY,
    {"aws:sourceaccount": ACCOUNT, "aws:sourcearn": ALARM, "aws:securetransport": "true"},
)


def statement(**parts: Any) -> dict[str, Any]:
    """One that allows the call, unless a part is replaced."""
    usual = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
    }
    return {**usual, **parts}


def under(**condition: Any) -> dict[str, Any]:
    return statement(Condition=condition)


@pytest.mark.parametrize(
    "one",
    [
        statement(),
        statement(Action="kms:*"),
        statement(Action="KMS:decrypt"),
        statement(Resource=[KEY, "arn:aws:kms:eu-west-1:1:key/2"]),
        statement(Principal="*"),
        statement(Principal={"AWS": "*"}),
        statement(Principal={"Service": ["sns.amazonaws.com", "cloudwatch.amazonaws.com"]}),
        under(StringEquals={"aws:SourceAccount": ACCOUNT}),
        under(StringEquals={"AWS:SOURCEACCOUNT": ["1", ACCOUNT]}),
        under(ArnLike={"aws:SourceArn": f"arn:aws:cloudwatch:*:{ACCOUNT}:alarm:*"}),
        under(ArnEquals={"aws:SourceArn": "arn:aws:cloudwatch:eu-west-?:*:alarm:export-jobs-*"}),
        under(StringLikeIfExists={"aws:SourceArn": "*"}),
        under(StringNotEquals={"aws:SourceAccount": "1"}),
        under(Bool={"aws:SecureTransport": "true"}),
    ],
    ids=str,
)
def test_what_lets_alarms_through_is_seen(one: dict[str, Any]) -> None:
    """With any spelling that IAM accepts; a second statement about others changes nothing."""
    other = statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
    assert allows({"Statement": [other, one]}, ASKED) is True
    assert allows({"Statement": one}, ASKED) is True


@pytest.mark.parametrize(
    "one",
    [
        statement(Effect="Deny"),
        statement(Action="kms:Encrypt"),
        statement(Action="kms:Decrypt?"),
        statement(Resource="arn:aws:kms:eu-west-1:1:key/2"),
        statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
        statement(Principal={"Service": "events.amazonaws.com"}),
        under(StringEquals={"aws:SourceAccount": "1"}),
        under(StringNotEquals={"aws:SourceAccount": ACCOUNT}),
        under(ArnLike={"aws:SourceArn": f"arn:aws:cloudwatch:*:{ACCOUNT}:alarm:other-*"}),
        under(
            StringEquals={"aws:SourceAccount": "1"},
            NumericLessThan={"aws:MultiFactorAuthAge": "1"},
        ),
    ],
    ids=str,
)
def test_what_does_not_let_alarms_through_is_seen(one: dict[str, Any]) -> None:
    """Also if something else about the statement is not known."""
    assert allows({"Statement": [one]}, ASKED) is False


def test_a_denial_outweighs_everything() -> None:
    """Unless its own condition is not met."""
    denial = statement(Effect="Deny", Principal="*", Action="kms:*")
    assert allows({"Statement": [statement(), denial]}, ASKED) is False
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    assert allows({"Statement": [statement(), {**denial, "Condition": insecure}]}, ASKED) is True


@pytest.mark.parametrize(
    "statements",
    [
        [under(StringEquals={"aws:SourceOrgID": "o-1"})],
        [under(NumericLessThan={"aws:SourceAccount": "1"})],
        [under(**{"ForAnyValue:StringEquals": {"aws:SourceAccount": ACCOUNT}})],
        [{"Effect": "Allow", "NotPrincipal": {"AWS": "1"}, "Action": "kms:*", "Resource": "*"}],
        [statement(), under(StringEquals={"aws:SourceOrgID": "o-1"}) | {"Effect": "Deny"}],
        [statement(), {"Effect": "Deny", "Principal": "*", "NotAction": "kms:Encrypt"}],
    ],
    ids=str,
)
def test_what_is_not_understood_is_neither(statements: list[dict[str, Any]]) -> None:
    """Another key, another operator, or a statement by exclusion."""
    assert allows({"Statement": statements}, ASKED) is None


def test_an_empty_policy_allows_nothing() -> None:
    """As in IAM."""
    assert allows({}, ASKED) is False
    assert allows({"Statement": []}, ASKED) is False
