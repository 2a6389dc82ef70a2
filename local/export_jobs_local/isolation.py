"""Clients of what runs on this machine. No setting of the shell or of its home directory matters.

A proxy, a profile, a CA bundle or a retry mode is meant for AWS. Here it could only do harm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import boto3
import botocore
import botocore.session
import requests
from botocore.config import Config
from botocore.loaders import Loader

REGION = "us-east-1"
"""The region of the local AWS."""
KEY = "local"
"""Both parts of its access key."""
_SECTIONS = ("s3", "proxies_config")
"""The sections of a profile that botocore reads by themselves."""
_FILES = {"config_file": os.devnull, "credentials_file": os.devnull}
_ISOLATED: ContextVar[bool] = ContextVar("isolated", default=False)


@contextmanager
def isolated() -> Iterator[None]:
    """Makes every botocore session that is created inside, in this thread, an isolated one.

    Libraries create sessions of their own, for example to list the regions of a service.
    """
    before = _ISOLATED.set(True)
    try:
        yield
    finally:
        _ISOLATED.reset(before)


def aws_session(region: str = REGION) -> boto3.Session:
    """An isolated session, with the local AWS's access key."""
    with isolated():
        return boto3.Session(region_name=region)


def aws_client(session: boto3.Session, service: Any, url: str, config: Config | None = None) -> Any:
    """A client of the AWS at `url`, which is on this machine. `config` adds to what isolates it."""
    return session.client(
        service,
        endpoint_url=url,
        verify=True,  # None means REQUESTS_CA_BUNDLE, and botocore refuses some values of that
        config=Config(proxies={}).merge(config or Config()),  # None means those of the environment
    )


def http_session() -> requests.Session:
    """HTTP without the shell's proxies and CA bundles, and without `.netrc`."""
    session = requests.Session()
    session.trust_env = False
    return session


def _isolate(session: botocore.session.Session) -> None:
    """Leaves each setting of botocore its default, whichever variables and files it is read from.

    So a setting that a later version of botocore adds has its default here, too.
    """
    if not _ISOLATED.get():
        return
    known = botocore.session.Session.SESSION_VARIABLES
    defaults = {name: (None, None, default, kind) for name, (_, _, default, kind) in known.items()}
    session.session_var_map.update(
        defaults
        | {name: (None, None, path, None) for name, path in _FILES.items()}
        | dict.fromkeys(_SECTIONS, (None, None, None, None))
    )
    # By default, it also reads service models from ~/.aws/models.
    loader = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    session.set_credentials(KEY, KEY)
    session.set_config_variable("region", REGION)


botocore.register_initializer(_isolate)
