"""Addresses and host names, as they come with a request."""

from __future__ import annotations

import pytest

from tmt.core.addresses import host_name, is_local, parse_address

LOCAL = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost", "shop.localhost"]


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_addresses_are_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["192.0.2.7", "::2", "localhost.example.org", "::ffff:192.0.2.1", "", None]
)
def test_any_other_address_is_not_this_machine(address: str | None) -> None:
    assert not is_local(address)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("192.0.2.1:x", None),
        ("unknown", None),
    ],
)
def test_addresses_with_ports_and_mapped_ones_are_read(text: str, address: str | None) -> None:
    assert str(parse_address(text)) == str(address)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Tickets.Example.org.:443", "tickets.example.org"),
        ("[::1]:5000", "::1"),
        ("evil.example/127.0.0.1", ""),
        ("a b", ""),
        ("user@127.0.0.1", ""),
        (None, ""),
    ],
)
def test_host_names_are_read_and_anything_else_is_none(host: str | None, name: str) -> None:
    assert host_name(host) == name
