"""Whom a sandbox for this machine only answers: by peer, host, proxy and page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_doors import ANNOUNCING
from tmt import sandbox
from tmt.core import addresses


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, 200),
        ({"HTTP_HOST": "shop.localhost:5000", "REMOTE_ADDR": "::ffff:127.0.0.1"}, 200),
        ({"HTTP_ORIGIN": "http://localhost:3000", "HTTP_REFERER": "http://[::1]/x"}, 200),
        ({"HTTP_ORIGIN": "null"}, 200),
        ({"REMOTE_ADDR": "192.0.2.1"}, 403),
        *(({"HTTP_HOST": host}, 400) for host in ("rebound.example", "10.0.0.7", "[::1", "")),
        *(({f"HTTP_{name}": "x"}, 400) for name in (*ANNOUNCING, "VIA", "X_REAL_IP")),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        *(({f"HTTP_{name}": "https://evil.example/"}, 403) for name in ("ORIGIN", "REFERER")),
    ],
)
def test_it_answers_what_this_machine_asks_itself(
    tmp_path: Path, environ: dict[str, Any], status: int
) -> None:
    opened = sandbox.Sandbox(tmp_path / "s.sqlite", "sk_test_x", "pk_test_x")
    base = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "127.0.0.1:5000"}
    try:
        answer = opened.wsgi.test_client().get("/clock", environ_overrides=base | environ)
    finally:
        opened.close()
    assert answer.status_code == status, answer.text


def test_shop_and_sandbox_know_the_same_proxies() -> None:
    assert sandbox._FORWARDING == addresses._FORWARDING
