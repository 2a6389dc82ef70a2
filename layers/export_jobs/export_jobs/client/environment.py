"""The network as the environment describes it: a proxy for calls, and the CAs to trust.

The variables are those of requests, curl and most others. This machine is never reached by a proxy,
and neither is anything without TLS: a proxy only passes on what it can't read.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import MutableMapping
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies


def on_this_machine(url: str) -> bool:
    """Whether the address names this machine, as `localhost` or by a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"


def proxies_for(url: str) -> MutableMapping[str, str]:
    """The proxies for a call, as requests takes them, by HTTPS_PROXY, ALL_PROXY and NO_PROXY."""
    if urlsplit(url).scheme != "https" or on_this_machine(url):
        return {}
    return get_environ_proxies(url, no_proxy=None)


def trusted() -> str | bool:
    """The file or folder of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE; True for requests' own CAs."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
