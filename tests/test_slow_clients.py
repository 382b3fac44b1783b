"""The documented gunicorn line under clients that send slowly, and the samples in docs/proxy."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tests.buyer import Buyer, order_token
from tests.deployment import THREADS, WORKER_CLASS, WORKERS, Deployment, deploy, gunicorn
from tests.large_answer import SIZE
from tests.servers import ROOT, Program, clean_environment, free_port, wait_for
from tests.shopfront import add_event
from tmt.buffering_worker import IncomingRequest
from tmt.config import Settings
from tmt.core.database import Database
from tmt.gateway.types import API_VERSION
from tmt.operations.doctor import Level
from tmt.operations.public_address import check_public_address

HOST = "tickets.example.org"
_LINE = b"POST /orders/find HTTP/1.1\r\nHost: 127.0.0.1\r\n"
STALLED = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: 127.0",
    "half a body": _LINE + b"Content-Length: 500\r\n\r\nemail=",
    "half a chunk": _LINE + b"Transfer-Encoding: chunked\r\n\r\nff\r\nemail=",
    "too long a body": _LINE + b"Content-Length: 99999999\r\n\r\nemail=",
    "an end that never comes": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    "half of the next request": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /",
}


def buy(shop: Deployment, buyer: Buyer) -> str:
    """Buys a ticket and pays it at Stripe; the order's token."""
    client = stripe.StripeClient(
        shop.secret_key, base_addresses={"api": shop.stripe_url}, stripe_version=API_VERSION
    )
    answer = buyer.submit("concierto", buyer.fill_in("concierto", [1]))
    assert answer.status_code == 303, answer.text
    token = order_token(answer) or ""
    secret, back = buyer.payment_details(token) or ("", "")
    intent = secret.partition("_secret_")[0]
    paying = {"payment_method": "pm_card_visa", "return_url": back}
    client.v1.payment_intents.confirm(intent, paying)  # type: ignore[arg-type]
    assert "order-paid" in buyer.get(f"/orders/{token}/return").text
    return token


@contextmanager
def running_shop(folder: Path, database_url: str, **settings: str) -> Iterator[Deployment]:
    with closing(Database(database_url)) as database:
        add_event(database)
    with deploy(folder / "shop", database_url, settings) as shop:
        yield shop


def test_the_manual_names_the_worker_that_is_tried_here() -> None:
    line = f"gunicorn --worker-class {WORKER_CLASS} --workers 2 --threads 8"
    assert line in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("stalled", STALLED.values(), ids=STALLED)
def test_a_buyer_buys_while_many_clients_stall(
    tmp_path: Path, sqlite_url: str, stalled: bytes
) -> None:
    """There are more of them than threads; a worker that gave each a thread would answer nobody."""
    clients = []
    with running_shop(tmp_path, sqlite_url) as shop:
        for _ in range(3 * WORKERS * THREADS):
            clients.append(socket.create_connection(("127.0.0.1", shop.port)))
            clients[-1].sendall(stalled)
        buy(shop, Buyer(shop.url))
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("request_", "extra"),
    [
        (_LINE + b"Content-Length: 3\r\n\r\nabc", b""),
        (_LINE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b""),
        (
            _LINE + b"Transfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
            b"",
        ),
        (_LINE + b"\r\n", b"GET / HTTP/1.1\r\n"),
    ],
)
def test_a_request_is_complete_with_its_last_byte_however_it_is_cut(
    request_: bytes, extra: bytes
) -> None:
    cut = random.Random(7)
    for _ in range(20):
        incoming, position = IncomingRequest(), 0
        while position < len(request_):
            assert not incoming.is_complete
            size = cut.randint(1, 9)
            incoming.feed(request_[position : min(position + size, len(request_))])
            position += size
        assert incoming.is_complete
        incoming.feed(extra)
        assert incoming.request() == request_ + extra


@pytest.mark.parametrize("body", [b"1\r\na\r\n" * 53_000, b"0" * 400])
def test_chunks_that_are_mostly_framing_are_refused(body: bytes) -> None:
    incoming = IncomingRequest()
    incoming.feed(_LINE + b"Transfer-Encoding: chunked\r\n\r\n")
    incoming.feed(body)
    assert incoming.refusal.startswith(b"HTTP/1.1 413 ")
    assert not incoming.is_complete


def test_clients_that_do_not_read_occupy_no_thread_and_get_all_of_it(tmp_path: Path) -> None:
    port, request_ = free_port(), b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    server = gunicorn("tests.large_answer:app", tmp_path, port)
    server.start()
    clients = []
    try:
        wait_for(f"http://127.0.0.1:{port}/", server)
        for _ in range(3 * WORKERS * THREADS):
            # A thread that waited for its client would do so for 20 seconds at least.
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            clients[-1].sendall(request_ * 2)
        assert all(client.recv(1) == b"H" for client in clients)
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).content == b"x"
        received = 0
        while received < 2 * SIZE and (part := clients[0].recv(2**20)):
            received += part.count(b"x")
        assert received == 2 * SIZE
    finally:
        for client in clients:
            client.close()
        server.stop()


def test_the_oldest_idle_connections_make_room(tmp_path: Path, sqlite_url: str) -> None:
    clients = []
    with running_shop(tmp_path, sqlite_url, GUNICORN_CMD_ARGS="--worker-connections 10") as shop:
        for _ in range(60):
            clients.append(socket.create_connection(("127.0.0.1", shop.port)))
            clients[-1].sendall(b"G")
        buy(shop, Buyer(shop.url))
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("path", "length", "too_long"),
    [
        ("/orders/find", 65_537, False),
        ("/orders/find?x=/stripe_webhook", 65_538, True),
        ("/tickets/stripe_webhook", 4_194_304, False),
        ("/stripe_webhook", 4_194_305, True),
    ],
)
def test_only_the_webhook_takes_large_bodies(path: str, length: int, too_long: bool) -> None:
    head = f"POST {path} HTTP/1.1\r\n"
    announced, chunked = IncomingRequest(), IncomingRequest()
    announced.feed(f"{head}Content-Length: {length}\r\n\r\n".encode())
    chunked.feed(f"{head}Transfer-Encoding: chunked\r\n\r\n{length + 1:x}\r\n".encode())
    chunked.feed(b"x" * length)
    assert (announced.is_too_long, chunked.is_too_long) == (too_long, too_long)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def proxy(name: str, folder: Path, shop: Deployment, port: int, sample: str) -> Iterator[str]:
    """The sample configuration with this test's ports, certificate and folder; its log's name."""
    certificate, key, log = folder / "cert.pem", folder / "key.pem", folder / "access.log"
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{shop.port}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "/etc/letsencrypt/live/tickets.example.org/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/tickets.example.org/privkey.pem": str(key),
        "/var/log/nginx/tmt.log": str(log),
        "/var/log/nginx/tmt-error.log": str(folder / "error.log"),
        "/var/log/caddy/tmt.log": str(log),
        f"\n{HOST} {{": f"\nhttps://{HOST}:{port} {{\n\ttls {certificate} {key}",
    }.items():
        sample = sample.replace(old, new)
    configuration = folder / "configuration"
    if name == "nginx":
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in "client_body proxy fastcgi uwsgi scgi".split()
        )
        sample = f"pid {folder}/pid; daemon off; events {{}} http {{ {paths} {sample} }}"
        command = [name, "-e", str(folder / "start.log"), "-c", str(configuration)]
    else:
        sample = sample.replace("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
        command = [name, "run", "--config", str(configuration), "--adapter", "caddyfile"]
    configuration.write_text(sample)
    program = Program(name, command, folder, {"HOME": str(folder)})
    program.start()
    try:
        while not _listens(port):
            assert program.is_running, program.log.read_text()
            time.sleep(0.02)
        yield str(log)
    finally:
        program.stop()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for the sample's host, which this process trusts; the host is this machine."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True, env=clean_environment(),
    )  # fmt: skip
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(folder / "cert.pem"))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **options: resolve(
            "127.0.0.1" if host == HOST else host, *more, **options
        ),
    )
    return folder


SAMPLES = {"nginx": ROOT / "docs/proxy/nginx.conf", "caddy": ROOT / "docs/proxy/Caddyfile"}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_for_a_proxy_do_what_they_say(
    name: str, tmp_path: Path, sqlite_url: str, certificate: Path
) -> None:
    """A sale through each, over https; what it logs; what the doctor says, and of careless ones."""
    if not shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin"):
        pytest.skip(f"{name} is not installed")
    sample, port = SAMPLES[name].read_text(), free_port()
    address = f"https://{HOST}:{port}"
    settings = {"TMT_BASE_URL": address, "TMT_TRUSTED_PROXIES": "1"}
    with running_shop(tmp_path, sqlite_url, **settings) as shop:

        def findings(text: str = sample, trusted: int = 1) -> Any:
            values: dict[str, Any] = {
                "base_url": address, "secret_key": shop.environment["SECRET_KEY"],
                "trusted_proxies": trusted,
            }  # fmt: skip
            with proxy(name, certificate, shop, port, text):
                return check_public_address(Settings.model_construct(**values))

        assert findings().level == Level.GREEN, findings()
        with proxy(name, certificate, shop, port, sample) as log:
            buyer = Buyer(address)
            token = buy(shop, buyer)
            assert buyer.get("/metrics").status_code == 404
            assert "Strict-Transport-Security" in buyer.get("/?q=secret-words").headers
            shop.web.stop()
            for path in (
                f"/orders/{token}",
                f"/orders%2F{token}/confirm/secret-words",
                f"/sign-in/{token}",
                f"/account%2Femail%2f{token}",
            ):
                assert (
                    buyer.get(f"{path}?payment_intent_client_secret=secret-words").status_code
                    == 502
                )
            shop.web.start()
            wait_for(f"{shop.url}/healthz", shop.web)
        assert "/orders/-/return" in Path(log).read_text()
        logged = "".join(file.read_text() for file in certificate.glob("*.log"))
        assert token not in logged
        assert "secret-words" not in logged
        if name == "nginx":
            line = "        proxy_set_header X-Forwarded-For $remote_addr;\n"
            careless = findings(sample.replace(line, ""))
            assert (careless.level, "believed" in careless.text) == (Level.RED, True)
            another_host = findings(sample.replace("Host $host;", "Host wrong.example;"))
            assert (another_host.level, "another host" in another_host.text) == (Level.RED, True)
