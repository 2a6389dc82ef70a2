"""Reads `local --parameter`, and the credential for the user's own service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export_jobs.client import Credentials, SecretUnreadable
from export_jobs.contract.text import decode_text
from export_jobs_local.aws.parameters import ParameterRefused, check
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

from export_jobs_cli.errors import UserError

ADDRESSES = ("ApiBaseUrl", "ImsTokenUrl")
"""The addresses of the user's own Segmentation service and its IMS."""


@dataclass(frozen=True)
class Given:
    """The stack's parameters, and the secret's text if they name the user's own service."""

    parameters: Mapping[str, str] = field(repr=False)
    credential: str | None = field(default=None, repr=False)


def read(typed: Sequence[str], credential: Path | None) -> Given:
    """Reads both options. Raises UserError for parameters that the template does not allow.

    Also raises it unless both addresses and the credential are given, or none of them.
    """
    parameters = _split(typed)
    try:
        check(read_template(TEMPLATE), parameters)
    except ParameterRefused as error:
        raise UserError(str(error)) from None
    addresses = [name for name in ADDRESSES if name in parameters]
    if len(addresses) == 1:
        (missing,) = set(ADDRESSES) - set(addresses)
        raise UserError(
            f"parameter {addresses[0]} also needs {missing}: "
            "give both for your own service, or neither"
        )
    if addresses and credential is None:
        raise UserError(
            "your own service (ApiBaseUrl, ImsTokenUrl) needs --credential FILE: "
            "a JSON object with clientId, clientSecret, orgId and scopes"
        )
    if credential is None:
        return Given(parameters)
    if not addresses:
        raise UserError(
            "--credential is for your own service: also give --parameter ApiBaseUrl=… and "
            "--parameter ImsTokenUrl=…"
        )
    return Given(parameters, _secret(credential))


def refuse_options_of_the_local_service(options: Sequence[str]) -> None:
    """Raises UserError if there are any: no local service is started that could use them."""
    if options:
        raise UserError(
            f"leave out {', '.join(options)}: with ApiBaseUrl and ImsTokenUrl, no local service is "
            "started"
        )


def _split(typed: Sequence[str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--parameter {text!r} must be NAME=VALUE")
        if name in parameters:
            raise UserError(f"parameter {name} is given twice")
        parameters[name] = value
    return parameters


def _secret(path: Path) -> str:
    """The text of a valid credential file. Error messages contain none of its values."""
    try:
        raw = path.read_bytes()
        Credentials.from_secret(raw)
    except OSError as error:
        raise UserError(f"the credential {path} can't be read: {error.strerror}") from None
    except SecretUnreadable as error:
        raise UserError(
            f"{path} is not a credential: {error}; it must be a JSON object with clientId, "
            "clientSecret, orgId and scopes"
        ) from None
    return decode_text(raw)
