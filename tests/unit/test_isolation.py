"""Clients of what runs on this machine, in a shell with other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
import requests
from botocore.config import Config
from export_jobs_local.isolation import (
    REGION,
    aws_client,
    aws_session,
    http_session,
    isolated,
)
from support.scripted import answer, scripted
from support.shells import FILES, home, variables

SERVICES = ("cloudformation", "dynamodb", "events", "lambda", "s3", "secretsmanager", "sns", "sqs")
UNCHANGED = {"region", "config_file", "credentials_file"}
"""What isolation sets: it leaves every other setting its default."""


@pytest.fixture(params=sorted(FILES))
def shell(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every variable at once, and each kind of file."""
    for settings in (*variables().values(), home(tmp_path, FILES[request.param])):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("shell")
def test_an_isolated_session_has_botocore_s_defaults() -> None:
    """Whatever the shell's variables and files say, also those of a later botocore."""
    session = aws_session()._session
    for name, (_, _, default, _) in botocore.session.Session.SESSION_VARIABLES.items():
        if name not in UNCHANGED:
            assert session.get_config_variable(name) == default, name
    assert session.get_config_variable("region") == REGION
    assert session.full_config == {"profiles": {}}
    providers = str(session.get_component("config_store")._mapping)
    assert "EnvironmentProvider" not in providers
    assert "ScopedConfigProvider" not in providers


@pytest.mark.usefixtures("shell")
def test_an_isolated_client_calls_what_is_here() -> None:
    """At its address, with its access key, and without a proxy."""
    session = aws_session()
    with scripted(answer(body={})) as server:
        for service in SERVICES:
            client = aws_client(session, service, server.url, Config(read_timeout=7))
            assert client.meta.endpoint_url == server.url
            assert client.meta.config.read_timeout == 7
            assert client._endpoint.http_session._proxy_config._proxies == {}
        aws_client(session, "sqs", server.url).list_queues()
        ((_, _, sent),) = server.requests
    assert b"Credential=local/" in sent
    assert b"x-amz-security-token" not in sent.lower()


@pytest.mark.usefixtures("shell")
def test_a_session_of_a_library_is_isolated_too() -> None:
    """Moto and SAM's translator make their own, to look up regions; outside, they are the shell's."""
    with isolated():
        inside = boto3.Session()
    assert inside.region_name == REGION
    assert REGION in inside.get_available_regions("sqs")
    assert boto3.Session().region_name != REGION


@pytest.mark.usefixtures("shell")
def test_http_to_this_machine_uses_no_setting_of_the_shell() -> None:
    """Neither a proxy nor a login of `.netrc`."""
    with scripted(answer(body={})) as server, http_session() as session:
        assert session.get(server.url, timeout=5).status_code == 200
        with pytest.raises(requests.RequestException):
            requests.Session().get(server.url, timeout=5)
    ((_, _, sent),) = server.requests
    assert b"authorization" not in sent.lower()
