"""Addresses and host names as they come with a request: who asks, and for which host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

# Which headers say that a proxy has passed a request on, by their names in a WSGI environment.
_FORWARDING = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_SERVER",
    "HTTP_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_REAL_IP",
    "HTTP_TRUE_CLIENT_IP",
    "HTTP_CF_CONNECTING_IP",
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
    names = (name for name in _FORWARDING if environ.get(name))
    return [name.removeprefix("HTTP_").replace("_", "-").title() for name in names]


def came_directly(environ: Mapping[str, object], peer: str | None) -> bool:
    """Whether a program on this machine sent the request itself, to one of this machine's names.

    `peer` is the other end of the connection. A proxy on this machine connects from here as well:
    it passes on another host, adds headers of its own, or speaks HTTP/1.0 as nginx does where it
    is configured to do neither. A page that has its name resolve to this machine sends that name.
    """
    return (
        is_local(peer)
        and is_local(host_name(str(environ.get("HTTP_HOST", ""))))
        and not forwarding_headers(environ)
        and environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    )
