"""`local --parameter`: the stack's parameters as typed, and the credential for a service of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export_jobs.client import Credentials, SecretUnreadable
from export_jobs_local.aws.parameters import ParameterRefused, check
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

from export_jobs_cli.errors import UserError

ADDRESSES = ("ApiBaseUrl", "ImsTokenUrl")
"""Of the Segmentation service and its IMS: who gives them has a service of their own."""


@dataclass(frozen=True)
class Given:
    """The parameters to deploy with, and the secret's text if they name a service of the user's own."""

    parameters: Mapping[str, str]
    credential: str | None = field(default=None, repr=False)


def read(typed: Sequence[str], credential: Path | None) -> Given:
    """Raises UserError for whatever the template would refuse, and for half of a service of one's own."""
    parameters = _split(typed)
    try:
        check(read_template(TEMPLATE), parameters)
    except ParameterRefused as error:
        raise UserError(str(error)) from None
    addresses = [name for name in ADDRESSES if name in parameters]
    if len(addresses) == 1:
        (missing,) = set(ADDRESSES) - set(addresses)
        raise UserError(
            f"parameter {addresses[0]} needs {missing} too: "
            "both are of a service of yours, or of the local one"
        )
    if addresses and credential is None:
        raise UserError(
            "a service of yours (ApiBaseUrl, ImsTokenUrl) needs --credential FILE: "
            "a JSON object of clientId, clientSecret, orgId and scopes"
        )
    if credential is None:
        return Given(parameters)
    if not addresses:
        raise UserError(
            "--credential is for a service of yours, by --parameter ApiBaseUrl=… and "
            "ImsTokenUrl=…; the local service has its own"
        )
    return Given(parameters, _secret(credential))


def refuse_options_of_the_local_service(options: Sequence[str]) -> None:
    """Raises UserError if there are any: no local service is started that could follow them."""
    if options:
        raise UserError(
            f"{', '.join(options)}: an option of the local Segmentation service, which is not started "
            "with ApiBaseUrl and ImsTokenUrl; leave it out"
        )


def _split(typed: Sequence[str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--parameter {text!r} has to be NAME=VALUE")
        if name in parameters:
            raise UserError(f"parameter {name} is given twice")
        parameters[name] = value
    return parameters


def _secret(path: Path) -> str:
    """The file's text, once it is known to be a credential. What is said of it names no value."""
    try:
        text = path.read_text(encoding="utf-8")
        Credentials.from_secret(text)
    except OSError as error:
        raise UserError(f"the credential {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the credential {path} can't be read: it is not UTF-8") from None
    except SecretUnreadable as error:
        raise UserError(
            f"{path} holds no credential: {error}; it has to be a JSON object of clientId, "
            "clientSecret, orgId and scopes"
        ) from None
    return text
