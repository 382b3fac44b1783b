"""What comes after a payment: refunds over time, disputes, warnings, the balance, payouts."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from .conftest import Pay, Receiver, refused
from .driver import Driver


def dispute_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Dispute:
    return client.v1.disputes.list({"payment_intent": intent.id}).data[0]


def total(client: stripe.StripeClient) -> int:
    balance = client.v1.balance.retrieve()
    return sum(part.amount for part in [*balance.available, *balance.pending])


@pytest.mark.parametrize(
    ("text", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")]
)
def test_a_dispute_is_decided(
    client: stripe.StripeClient,
    pay: Pay,
    driver: Driver,
    receiver: Receiver,
    text: str,
    status: str,
) -> None:
    intent = pay("pm_card_createDispute")
    dispute = dispute_of(client, intent)
    assert (dispute.status, dispute.reason, dispute.amount) == (
        "needs_response",
        "fraudulent",
        2000,
    )
    assert total(client) == 2000 - 88 - 2000 - 1500
    draft: Any = {"evidence": {"uncategorized_text": text}, "submit": False}
    assert client.v1.disputes.update(dispute.id, draft).status == "needs_response"
    assert client.v1.disputes.update(dispute.id, {"submit": True}).status == "under_review"
    assert client.v1.disputes.retrieve(dispute.id).status == status
    assert total(client) == (2000 - 88 if status == "won" else -88 - 1500)
    receiver.wait_for(
        "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.updated",
        "charge.dispute.closed",
    )  # fmt: skip
    if status == "won":
        receiver.wait_for("charge.dispute.funds_reinstated")
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert charge.disputed


def test_a_disputed_charge_is_not_refunded_and_silence_loses(
    client: stripe.StripeClient, pay: Pay, driver: Driver
) -> None:
    intent = pay("pm_card_createDisputeProductNotReceived")
    assert dispute_of(client, intent).reason == "product_not_received"
    error = refused(lambda: client.v1.refunds.create({"payment_intent": intent.id}))
    assert error.code == "charge_disputed"
    driver.advance(days=15)
    dispute = dispute_of(client, intent)
    assert (dispute.status, dispute.evidence_details.past_due) == ("lost", True)
    assert refused(lambda: client.v1.disputes.close(dispute.id)).http_status == 400


def test_an_inquiry_takes_no_money_until_it_escalates(
    client: stripe.StripeClient, pay: Pay, driver: Driver
) -> None:
    asked = pay("pm_card_createDisputeInquiry")
    dispute = dispute_of(client, asked)
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert total(client) == 2000 - 88
    assert client.v1.disputes.close(dispute.id).status == "warning_closed"
    other = dispute_of(client, pay("pm_card_createDisputeInquiry"))
    text: Any = {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    client.v1.disputes.update(other.id, text)
    assert client.v1.disputes.retrieve(other.id).status == "needs_response"
    assert total(client) == 2 * (2000 - 88) - 2000 - 1500


def test_refunding_all_of_it_ends_an_inquiry(
    client: stripe.StripeClient, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    intent = pay("pm_card_createDisputeInquiry")
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert dispute_of(client, intent).status == "warning_needs_response"
    text: Any = {"evidence": {"uncategorized_text": "Here is the ticket."}}
    client.v1.disputes.update(dispute_of(client, intent).id, text)
    client.v1.refunds.create({"payment_intent": intent.id})
    assert dispute_of(client, intent).status == "warning_closed"
    receiver.wait_for("charge.dispute.closed")
    driver.advance(days=70)
    assert receiver.types().count("charge.dispute.closed") == 1


def test_a_fraud_warning_comes_early(client: stripe.StripeClient, pay: Pay) -> None:
    intent = pay("pm_card_createIssuerFraudRecord")
    warnings = client.v1.radar.early_fraud_warnings.list({"payment_intent": intent.id}).data
    assert warnings[0].actionable


def test_refunds_that_take_time(
    client: stripe.StripeClient, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    slow = client.v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    failing = client.v1.refunds.create({"payment_intent": pay("pm_card_refundFail").id})
    assert (slow.status, failing.status) == ("pending", "succeeded")
    driver.advance(days=3)
    assert client.v1.refunds.retrieve(slow.id).status == "succeeded"
    failed = client.v1.refunds.retrieve(failing.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction
    charge = client.v1.charges.retrieve(str(failing.charge))
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    receiver.wait_for("refund.failed", "refund.updated", "charge.refund.updated")


def test_a_refund_waits_for_money(client: stripe.StripeClient, pay: Pay, driver: Driver) -> None:
    intent = pay()
    driver.advance(days=4)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "insufficient_funds")
    pay(capture_method="automatic")
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"


def test_payouts_hold_what_was_paid(
    client: stripe.StripeClient, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    pay(), pay()
    balance = client.v1.balance.retrieve()
    assert (balance.available, balance.pending[0].amount) == ([], 2 * (2000 - 88))
    driver.advance(days=5)
    payout = client.v1.payouts.list().data[0]
    assert (payout.amount, payout.status) == (2 * (2000 - 88), "paid")
    held = client.v1.balance_transactions.list({"payout": payout.id}).data
    assert sorted(entry.net for entry in held) == [-3824, 1912, 1912]
    assert total(client) == 0
    receiver.wait_for("payout.created", "payout.paid", "payout.reconciliation_completed")


def test_an_uncaptured_payment_runs_out(
    client: stripe.StripeClient, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    intent = pay(capture_method="manual")
    driver.advance(days=7, seconds=1)
    after = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.cancellation_reason) == ("canceled", "automatic")
    receiver.wait_for("charge.expired", "payment_intent.canceled")


def test_the_console_refunds_and_disputes(
    client: stripe.StripeClient, pay: Pay, root: str, box: Any
) -> None:
    own = {"Origin": root, "Accept": "text/html"}
    first, second = pay(), pay()
    url = f"{root}/payments/{first.id}"
    for amount in ("500", ""):
        assert requests.post(f"{url}/refund", {"amount": amount}, headers=own).status_code == 200
    assert len(client.v1.refunds.list({"payment_intent": first.id}).data) == 2
    over = requests.post(f"{url}/refund", {"amount": "1"}, headers=own)
    assert "already been refunded" in over.text
    requests.post(f"{root}/payments/{second.id}/dispute", {"reason": "fraudulent"}, headers=own)
    dispute = dispute_of(client, second)
    requests.post(f"{root}/disputes/{dispute.id}/decide", {"verdict": "won"}, headers=own)
    assert dispute_of(client, second).status == "won"
    page = requests.get(f"{root}/payments/{second.id}").text
    assert "charge.dispute.funds_reinstated" in page
