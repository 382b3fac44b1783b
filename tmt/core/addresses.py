"""Addresses and host names as they come with a request: who asks, and for which host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

# Which headers say that a proxy has passed a request on, by their names in a WSGI environment. The
# sandbox, which imports nothing of the shop, has a copy in `tmt/sandbox/__init__.py`.
_FORWARDING = re.compile(
    r"HTTP_(?:FORWARDED|VIA|X_REAL_IP|X_REMOTE_(?:IP|ADDR)|(?:\w+_)?CLIENT_?IP|CDN_LOOP"
    r"|X_FORWARDED\w*|X_ORIGINAL_\w+|X_PROXY\w*|X_VARNISH|X_ARR_\w+|X_ENVOY_\w+|X_AMZN?_\w+"
    r"|X_AZURE_\w+|X_APPENGINE_\w+|(?:CF|FLY|FASTLY|AKAMAI|INCAP|TAILSCALE|NGROK)_\w+)"
)
_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(:[0-9]{1,5})?", re.IGNORECASE)
_WITH_PORT = re.compile(r"\[(.{2,60})\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")


def parse_address(text: str | None) -> IPv4Address | IPv6Address | None:
    """The IP address, which may stand with a port; None if it is none.

    An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    """
    with_port = _WITH_PORT.fullmatch(text or "")
    try:
        address = ip_address((with_port[1] or with_port[2]) if with_port else text or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_local(address: str | None) -> bool:
    """Whether this IP address, of a client or in a URL, or host name is this machine's own."""
    name = (address or "").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    parsed = parse_address(name)
    return parsed is not None and parsed.is_loopback


def host_name(host: str | None) -> str:
    """The name or address in a Host header, in lower case and without its port; "" if malformed."""
    match = _HOST.fullmatch(host or "")
    return match[1].lower().strip("[]").rstrip(".") if match else ""


def forwarding_headers(environ: Mapping[str, object]) -> list[str]:
    """The names of the headers in which a proxy says for whom it passes this request on."""
    names = sorted(name for name in environ if _FORWARDING.fullmatch(name) and environ[name])
    return [name.removeprefix("HTTP_").replace("_", "-").title() for name in names]


def _comes_from_a_site(environ: Mapping[str, object]) -> bool:
    """Whether a browser says that a page of another machine sends this request or leads to it."""
    for name in ("HTTP_ORIGIN", "HTTP_REFERER"):
        page = str(environ.get(name) or "null")
        host = re.match(r"[a-z][a-z0-9+.-]{0,20}://([^/?#\\]*)", page, re.IGNORECASE)
        if page != "null" and not (host and is_local(host_name(host[1]))):
            return True
    return False


def came_directly(environ: Mapping[str, object], peer: str | None) -> bool:
    """Whether a program on this machine sent the request itself, to one of this machine's names.

    `peer` is the other end of the connection. A proxy on this machine connects from here as well:
    it passes on another host, adds headers of its own, or speaks HTTP/1.0 as nginx does where it
    is configured to do neither. A page that has its name resolve to this machine sends that name.
    What a browser's page asks for names that page.
    """
    return (
        is_local(peer)
        and is_local(host_name(str(environ.get("HTTP_HOST", ""))))
        and not forwarding_headers(environ)
        and not _comes_from_a_site(environ)
        and environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    )
