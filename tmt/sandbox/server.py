"""The sandbox as a server of its own, for use outside the shop's process."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from tmt.sandbox import Endpoint, Sandbox

DEFAULT_PORT = 12111


class _Handler(WSGIRequestHandler):
    """Keeps connections open, and logs no query string: it may hold a client secret."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log("info", '"%s %s" %s', self.command, self.path.partition("?")[0], code)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tmt.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port on 127.0.0.1")
    parser.add_argument(
        "--store", default="sandbox.sqlite", help="SQLite file that stores everything"
    )
    parser.add_argument("--webhook", metavar="URL", help="where events are sent")
    parser.add_argument(
        "--pinned", action="store_true", help="refuse every key but the two that are printed"
    )
    serve(**vars(parser.parse_args()))


def serve(
    port: int = DEFAULT_PORT,
    store: str = "sandbox.sqlite",
    webhook: str | None = None,
    pinned: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve on 127.0.0.1 until interrupted. The keys are created once and stored beside `store`.

    Unless they are `pinned`, every other key of Stripe's test mode opens the sandbox too.
    """
    # Its owner alone may read what it writes.
    os.umask(0o077)
    secret_key, publishable_key, signing_secret = _read_keys(Path(store + ".keys"))
    endpoints = [Endpoint(webhook, signing_secret)] if webhook else []
    box = Sandbox(store, secret_key, publishable_key, endpoints, any_key=not pinned)
    server = make_server("127.0.0.1", port, box.wsgi, threaded=True, request_handler=_Handler)
    box.start()
    say(f"Sandbox          http://127.0.0.1:{server.port}")
    say(f"Secret key       {secret_key}")
    say(f"Publishable key  {publishable_key}")
    say(f"Webhook secret   {signing_secret}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("Stopped.")
    finally:
        server.server_close()
        box.close()


def listen(box: Sandbox, any_key: bool, port: int = DEFAULT_PORT) -> str:
    """Serve a sandbox at the root of a port of its own, in a thread; returns the address.

    Some clients of Stripe cannot use a path in front of `/v1`. Where the port is taken, another is.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            listening.bind(("127.0.0.1", 0))
        listening.listen()
        address, port = listening.getsockname()
        application, socket_number = box.application(any_key), listening.fileno()
        server = make_server(
            address, port, application, True, request_handler=_Handler, fd=socket_number
        )
    threading.Thread(target=server.serve_forever, name="sandbox-api", daemon=True).start()
    return f"http://{address}:{port}"


def _read_keys(file: Path) -> tuple[str, str, str]:
    if not file.exists():
        prefixes = ("sk_test_", "pk_test_", "whsec_")
        file.touch(mode=0o600)
        file.write_text("".join(f"{prefix}{secrets.token_hex(16)}\n" for prefix in prefixes))
    secret_key, publishable_key, signing_secret = file.read_text().split()
    return secret_key, publishable_key, signing_secret
