"""The parts of `tmt/web.py` that need no running shop."""

from __future__ import annotations

import pytest

from tmt.web import is_local


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_addresses_are_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["192.0.2.7", "::2", "localhost.example.org", "", None])
def test_any_other_address_is_not_this_machine(address: str | None) -> None:
    assert not is_local(address)
