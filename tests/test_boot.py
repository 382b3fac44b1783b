"""The README's first command, in an empty folder: it runs, and a ticket can be bought."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import stripe

from tests.servers import free_port, wait_for

ROOT = Path(__file__).parent.parent


@contextmanager
def flask_run(folder: Path, **environment: str) -> Iterator[tuple[str, Path]]:
    """`flask run` in a folder of its own; its address and the file with its output."""
    port = free_port()
    output = folder / "output.txt"
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "app.py"), "run"]
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "TMT_INSTANCE": str(folder / "instance"), **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}", output
    finally:
        process.terminate()
        process.wait(20)


def test_flask_run_needs_no_settings(tmp_path: Path) -> None:
    with flask_run(tmp_path) as (address, output):
        front = wait_for(address)
        bought = subprocess.run(
            [sys.executable, str(ROOT / ".ci" / "buy.py"), address],
            capture_output=True,
            text=True,
            timeout=60,
        )
        mails = wait_for_mails(tmp_path / "instance" / "mail")
        # The sandbox answers at the root of a port of its own, which has no path before /v1.
        api = re.findall(r"SDKs and CLI\): (\S+)", output.read_text())[-1]
        client = stripe.StripeClient("sk_test_anybody", base_addresses={"api": api})
        (paid,) = client.v1.payment_intents.list({"limit": 1}).data
    assert (paid.status, urlsplit(api).path) == ("succeeded", "")
    assert front.status_code == 200
    assert front.text.count("/events/") >= 6
    assert bought.stdout.endswith("two tickets bought\n"), bought.stderr
    assert len(mails) == 1
    printed = output.read_text()
    assert address in printed
    assert "sandbox" in printed
    assert "4242 4242 4242 4242" in printed
    assert "Traceback" not in printed


def wait_for_mails(folder: Path) -> list[Path]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        mails = list(folder.glob("*.eml"))
        if mails:
            return mails
        time.sleep(0.1)
    raise AssertionError("no mail was written")


def test_nothing_personal_is_printed(tmp_path: Path) -> None:
    with flask_run(tmp_path, TMT_LOG_LEVEL="DEBUG") as (address, output):
        wait_for(address)
        subprocess.run(
            [sys.executable, str(ROOT / ".ci" / "buy.py"), address], check=True, timeout=60
        )
        wait_for_mails(tmp_path / "instance" / "mail")
    printed = output.read_text()
    assert "payment.paid" in printed
    for private in ("ana@example.com", "Ana Ejemplo", "_secret_", "sk_test_", "whsec_"):
        assert private not in printed
    assert not re.search(r"/orders/[\w-]{22}", printed)


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    with flask_run(tmp_path) as (address, _output):
        wait_for(address)
        subprocess.run(
            [sys.executable, str(ROOT / ".ci" / "buy.py"), address], check=True, timeout=60
        )
    database = tmp_path / "instance" / "tmt-sandbox.sqlite"
    size = database.stat().st_size
    with flask_run(tmp_path) as (address, _output):
        assert wait_for(address).status_code == 200
    assert database.stat().st_size >= size


def test_other_servers_need_settings(tmp_path: Path) -> None:
    code = "from app import app"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode != 0
    assert "Set STRIPE_SECRET_KEY" in answer.stderr
