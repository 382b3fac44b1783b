"""A WSGI application whose answer no socket takes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SIZE = 16_000_000


def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    body = b"x" * (SIZE if environ["PATH_INFO"] == "/large" else 1)
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
