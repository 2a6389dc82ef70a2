"""Shells: one without settings for AWS, and one with settings that fit nothing here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import botocore.session

NOWHERE = "/nowhere/at-all.pem"


def without_aws_settings() -> dict[str, str]:
    """The environment without anything that boto3 reads for AWS; its proxies are left in it."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return others | dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _any_case(names: Mapping[str, str]) -> dict[str, str]:
    return {spelt: value for name, value in names.items() for spelt in (name, name.lower())}


def variables() -> dict[str, dict[str, str]]:
    """Environment variables, by a name for what they set."""
    dead = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), dead)
    wrong = {
        variable: "no-such-value"
        for _, names, _, _ in botocore.session.Session.SESSION_VARIABLES.values()
        for variable in ([names] if isinstance(names, str) else names or [])
    }
    return {
        "proxies": _any_case({**proxies, "NO_PROXY": ""}),
        "a SOCKS proxy": _any_case({"ALL_PROXY": "socks5h" + dead.removeprefix("http")}),
        "certificates": dict.fromkeys(
            ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), NOWHERE
        ),
        "empty certificates": {"AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": " "},
        **{name: {name: value} for name, value in wrong.items()},
        "a FIPS endpoint": {"AWS_USE_FIPS_ENDPOINT": "true"},
        "a dual-stack endpoint": {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        "another region": {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"},
        "credentials": {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "another",
            "AWS_SESSION_TOKEN": "another",
        },
        "monitoring": {"AWS_CSM_ENABLED": "true", "AWS_CSM_PORT": "none"},
        "endpoints": dict.fromkeys(
            ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB"), dead
        ),
        "S3": {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "x", "AWS_S3_USE_ARN_REGION": "x"},
    }


HIDING = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_DATA_PATH"}
"""With one of these, boto3 does not read some of the files of a home directory."""


def everything(*, reverse: bool = False) -> dict[str, str]:
    """All variables but those that hide others.

    Where two set the same one, the later counts, or with `reverse` the earlier.
    """
    settings = [*variables().values()]
    ordered = settings[::-1] if reverse else settings
    merged = {name: value for one in ordered for name, value in one.items()}
    return {name: value for name, value in merged.items() if name not in HIDING}


FILES = {
    "files that can't be read": {
        ".aws/config": "no [section\n= and no value\n",
        ".aws/credentials": "[default\n",
        ".aws/models/sqs/2012-11-05/service-2.json": "{",
        ".netrc": "machine\n",
    },
    "files with other settings": {
        ".aws/config": (
            "[default]\nregion = eu-west-1\nmax_attempts = x\nretry_mode = x\ndefaults_mode = x\n"
            f"ca_bundle = {NOWHERE}\nendpoint_url = http://127.0.0.1:9\nuse_fips_endpoint = true\n"
            "s3 =\n  addressing_style = virtual\n  us_east_1_regional_endpoint = x\n"
        ),
        ".aws/credentials": "[default]\ncredential_process = /nowhere/at-all\n",
        ".aws/models/sqs/2012-11-05/service-2.json": "{",
        ".netrc": "machine 127.0.0.1 login another password another\n",
    },
}
"""Files of a home directory, by a name for what they do."""


def home(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Writes the files into a new home directory; returns the variable that names it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return {"HOME": str(folder)}
