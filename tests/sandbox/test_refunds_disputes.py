"""What follows a payment: refunds over time, disputes, warnings, the balance, payouts."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from .conftest import Pay, Receiver, error_of
from .driver import Driver

# 20.00 usd in the account's currency, and less the fees.
EUROS, FEE, DISPUTE_FEE = 1800, 82, 1500


def dispute_of(v1: Any, intent: Any) -> Any:
    return v1.disputes.list({"payment_intent": intent.id}).data[0]


def total(v1: Any) -> int:
    balance = v1.balance.retrieve()
    return sum(part.amount for part in [*balance.available, *balance.pending])


def test_refunds_in_parts_until_nothing_is_left(v1: Any, pay: Pay) -> None:
    intent, refunds = pay(), v1.refunds
    part = refunds.create({"payment_intent": intent.id, "amount": 1500})
    assert (part.status, part.amount, part.charge) == ("succeeded", 1500, intent.latest_charge)
    error = error_of(refunds.create, {"payment_intent": intent.id, "amount": 501})
    assert "greater than unrefunded amount on charge ($5.00)" in str(error)
    assert refunds.create({"charge": intent.latest_charge}).amount == 500
    charge = v1.charges.retrieve(intent.latest_charge)
    assert (charge.refunded, charge.amount_refunded) == (True, 2000)
    error = error_of(refunds.create, {"payment_intent": intent.id})
    assert error.code == "charge_already_refunded"
    assert len(refunds.list({"payment_intent": intent.id}).data) == 2
    held = pay(capture_method="manual")
    error = error_of(refunds.create, {"payment_intent": held.id})
    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")


def test_refunds_that_take_time(v1: Any, pay: Pay, driver: Driver, receiver: Receiver) -> None:
    slow = v1.refunds.create({"payment_intent": pay("pm_card_pendingRefund").id})
    failing = v1.refunds.create({"payment_intent": pay("pm_card_refundFail").id})
    assert (slow.status, slow.pending_reason) == ("pending", "processing")
    assert failing.status == "succeeded"
    driver.advance(days=3)
    assert v1.refunds.retrieve(slow.id).status == "succeeded"
    failed = v1.refunds.retrieve(failing.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction
    charge = v1.charges.retrieve(failing.charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    receiver.wait_for("refund.failed", "refund.updated", "charge.refund.updated")


def test_a_refund_waits_for_money(v1: Any, pay: Pay, driver: Driver) -> None:
    intent = pay()
    driver.advance(days=4)
    refund = v1.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "insufficient_funds")
    pay(capture_method="automatic")
    assert v1.refunds.retrieve(refund.id).status == "succeeded"


@pytest.mark.parametrize(
    ("text", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")]
)
def test_a_dispute_is_decided(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver, text: str, status: str
) -> None:
    intent = pay("pm_card_createDispute")
    dispute = dispute_of(v1, intent)
    assert (dispute.status, dispute.reason) == ("needs_response", "fraudulent")
    assert dispute.amount == 2000
    assert total(v1) == -FEE - DISPUTE_FEE
    draft = {"evidence": {"uncategorized_text": text}, "submit": False}
    assert v1.disputes.update(dispute.id, draft).status == "needs_response"
    assert v1.disputes.update(dispute.id, {"submit": True}).status == "under_review"
    assert v1.disputes.retrieve(dispute.id).status == status
    assert total(v1) == (EUROS - FEE if status == "won" else -FEE - DISPUTE_FEE)
    events = ["created", "funds_withdrawn", "updated", "closed"]
    events += ["funds_reinstated"] if status == "won" else []
    receiver.wait_for(*(f"charge.dispute.{event}" for event in events))
    assert v1.charges.retrieve(intent.latest_charge).disputed


def test_a_disputed_charge_is_not_refunded_and_silence_loses(
    v1: Any, pay: Pay, driver: Driver
) -> None:
    intent = pay("pm_card_createDisputeProductNotReceived")
    assert dispute_of(v1, intent).reason == "product_not_received"
    error = error_of(v1.refunds.create, {"payment_intent": intent.id})
    assert error.code == "charge_disputed"
    driver.advance(days=15)
    dispute = dispute_of(v1, intent)
    assert (dispute.status, dispute.evidence_details.past_due) == ("lost", True)
    assert error_of(v1.disputes.close, dispute.id).http_status == 400


def test_an_inquiry_takes_no_money_until_it_escalates(v1: Any, pay: Pay) -> None:
    dispute = dispute_of(v1, pay("pm_card_createDisputeInquiry"))
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert total(v1) == EUROS - FEE
    assert v1.disputes.close(dispute.id).status == "warning_closed"
    other = dispute_of(v1, pay("pm_card_createDisputeInquiry"))
    evidence = {"uncategorized_text": "escalate_inquiry_evidence"}
    v1.disputes.update(other.id, {"evidence": evidence})
    assert v1.disputes.retrieve(other.id).status == "needs_response"
    assert total(v1) == 2 * (EUROS - FEE) - EUROS - DISPUTE_FEE


def test_refunding_all_of_it_ends_an_inquiry(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    intent = pay("pm_card_createDisputeInquiry")
    v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    dispute = dispute_of(v1, intent)
    assert dispute.status == "warning_needs_response"
    v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "Here is the ticket."}})
    v1.refunds.create({"payment_intent": intent.id})
    assert dispute_of(v1, intent).status == "warning_closed"
    receiver.wait_for("charge.dispute.closed")
    driver.advance(days=70)
    assert receiver.types().count("charge.dispute.closed") == 1


def test_a_fraud_warning_comes_early(v1: Any, pay: Pay) -> None:
    intent = pay("pm_card_createIssuerFraudRecord")
    warnings = v1.radar.early_fraud_warnings.list({"payment_intent": intent.id}).data
    assert warnings[0].actionable


def test_payouts_contain_what_was_paid(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    pay(), pay()
    balance = v1.balance.retrieve()
    amounts = (balance.available[0].amount, balance.pending[0].amount)
    assert amounts == (0, 2 * (EUROS - FEE))
    driver.advance(days=5)
    (payout,) = v1.payouts.list().data
    assert (payout.amount, payout.status) == (2 * (EUROS - FEE), "paid")
    transactions = v1.balance_transactions.list({"payout": payout.id}).data
    assert sorted(transaction.net for transaction in transactions) == [-3436, 1718, 1718]
    assert total(v1) == 0
    receiver.wait_for("payout.created", "payout.paid", "payout.reconciliation_completed")


def test_an_uncaptured_payment_expires(
    v1: Any, pay: Pay, driver: Driver, receiver: Receiver
) -> None:
    intent = pay(capture_method="manual")
    driver.advance(days=7, seconds=1)
    after = v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.cancellation_reason) == ("canceled", "automatic")
    receiver.wait_for("charge.expired", "payment_intent.canceled")


def test_the_console_refunds_and_disputes(v1: Any, pay: Pay, root: str) -> None:
    first, second = pay(), pay()

    def post(path: str, **data: str) -> requests.Response:
        headers = {"Origin": root, "Accept": "text/html"}
        return requests.post(f"{root}/{path}", data, headers=headers)

    for amount in ("500", ""):
        assert post(f"payments/{first.id}/refund", amount=amount).status_code == 200
    assert len(v1.refunds.list({"payment_intent": first.id}).data) == 2
    assert "already been refunded" in post(f"payments/{first.id}/refund", amount="1").text
    too_much = post(f"payments/{second.id}/dispute", reason="fraudulent", amount="9999999")
    assert too_much.status_code == 400
    post(f"payments/{second.id}/dispute", reason="fraudulent", amount="300")
    assert dispute_of(v1, second).amount == 300
    post(f"disputes/{dispute_of(v1, second).id}/decide", verdict="won")
    assert dispute_of(v1, second).status == "won"
    page = requests.get(f"{root}/payments/{second.id}").text
    assert "charge.dispute.funds_reinstated" in page
