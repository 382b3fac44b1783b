"""Stripe's official command line as the sandbox's client: what it triggers arrives, signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tmt.sandbox import Sandbox

from .conftest import SECRET_KEY, Receiver

VERSION = "1.52.0"
# Beside the tests, so that it is installed once: it is large.
CACHE = Path(__file__).parent / "node_modules" / f".stripe-cli-{VERSION}"
TRIGGERS = """payment_intent.created payment_intent.succeeded payment_intent.payment_failed
    payment_intent.requires_action payment_intent.canceled
    payment_intent.amount_capturable_updated payment_intent.processing charge.succeeded
    charge.failed charge.captured charge.refunded charge.refund.updated charge.dispute.created
    charge.dispute.updated charge.dispute.closed balance.available payout.created
    payout.updated customer.created customer.updated customer.deleted
    payment_method.attached payment_method.detached payment_method.updated setup_intent.created
    setup_intent.succeeded setup_intent.canceled setup_intent.requires_action
    setup_intent.setup_failed test_helpers.test_clock.created test_helpers.test_clock.advancing
    test_helpers.test_clock.ready test_helpers.test_clock.deleted product.created product.updated
    product.deleted price.created price.updated plan.created plan.updated plan.deleted
    coupon.created coupon.updated coupon.deleted promotion_code.created promotion_code.updated
    customer.discount.created customer.discount.updated customer.discount.deleted
    customer.source.created customer.source.updated tax_rate.created tax_rate.updated
    invoiceitem.created invoiceitem.deleted invoice.created invoice.updated invoice.deleted
    invoice.finalized invoice.paid invoice.payment_succeeded invoice.payment_failed
    invoice.payment_action_required invoice.sent invoice.voided invoice.marked_uncollectible
    credit_note.created credit_note.updated credit_note.voided""".split()


@pytest.fixture(scope="session")
def stripe_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned command line, installed with npm the first time."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("Stripe's command line comes with npm, and there is no Node.js on this machine")
    command = [npm, "install", "--prefix", str(CACHE), "--ignore-scripts", "--no-package-lock"]
    with FileLock(tmp_path_factory.getbasetemp().parent / "stripe-cli.lock"):
        if not (CACHE / "node_modules" / "@stripe").exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            subprocess.run([*command, f"@stripe/cli@{VERSION}"], check=True, capture_output=True)
    # Without the JavaScript around it: all that it adds is finding this file.
    packages = CACHE / "node_modules" / "@stripe"
    return next(path for path in packages.glob("cli-*/bin/stripe*") if path.is_file())


def trigger(cli: Path, root: str, home: Path, event: str) -> subprocess.CompletedProcess[str]:
    return run(cli, root, home, "trigger", event)


def run(cli: Path, root: str, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(cli), *command, "--api-base", root, "--api-key", SECRET_KEY],
        capture_output=True,
        text=True,
        timeout=60,
        env={"HOME": str(home), "PATH": "/usr/bin"},
    )


@pytest.mark.parametrize("event", TRIGGERS)
def test_what_the_command_line_triggers_arrives(
    stripe_cli: Path, box: Sandbox, root: str, receiver: Receiver, tmp_path: Path, event: str
) -> None:
    box.start()
    answer = trigger(stripe_cli, root, tmp_path, event)
    assert "Trigger succeeded" in answer.stdout, answer.stdout + answer.stderr
    arrived = receiver.wait_for(event)
    assert arrived.type == event
    assert json.loads(receiver.bodies[0])["object"] == "event"


def test_the_command_line_sends_an_event_again(
    stripe_cli: Path, box: Sandbox, root: str, v1: Any, receiver: Receiver, tmp_path: Path
) -> None:
    box.start()
    v1.customers.create()
    event = receiver.wait_for("customer.created")
    assert event.id in run(stripe_cli, root, tmp_path, "events", "resend", event.id).stdout
    receiver.wait_count(2)
    assert receiver.events[-1].id == event.id


def test_a_trigger_can_fail(
    stripe_cli: Path, box: Sandbox, root: str, receiver: Receiver, tmp_path: Path
) -> None:
    answer = trigger(stripe_cli, root, tmp_path, "issuing_cardholder.created")
    assert "Unrecognized request URL" in answer.stdout + answer.stderr
    assert receiver.events == []
