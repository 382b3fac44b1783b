"""Small changes that break the shop, each with the trial that has to notice: `MUTATIONS`.

A mutation replaces a text that occurs exactly once in its file. Whoever changes that line changes
the mutation with it; `tests/test_mutations.py` says when they no longer agree.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

CHAOS = "tests.chaos"


class OutOfDate(Exception):
    """The text that a mutation replaces does not occur exactly once in its file."""


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in the file; `trial` is what pytest is then called with, or chaos.

    One that begins with `tests.chaos` is the whole command.
    """

    what: str
    path: str
    old: str
    new: str
    trial: str

    @property
    def command(self) -> list[str]:
        """What follows `python -m`; it ends with 1 when the trial has noticed."""
        words = shlex.split(self.trial)
        if words[0] == CHAOS:
            return words
        return ["pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider", *words]

    def apply(self, root: Path) -> None:
        """Changes the file below this folder; raises `OutOfDate`."""
        path = root / self.path
        source = path.read_text()
        if source.count(self.old) != 1:
            found = f"occurs {source.count(self.old)} times in {self.path}"
            raise OutOfDate(f"{self.what}: {self.old.strip()!r} {found}")
        path.write_text(source.replace(self.old, self.new))


_PAYMENTS = "tests/payments/test_"
_CHAOS = f"{CHAOS} --minutes 0 --seed 1"

MUTATIONS = [
    Mutation(
        "lock_order locks nothing",
        "tmt/checkout/states.py",
        ".where(Order.id == order_id).with_for_update()",
        ".where(Order.id == order_id)",
        "tests/checkout/test_states.py -k locked_order",
    ),
    Mutation(
        "lock_order locks nothing, and chaos races for one order",
        "tmt/checkout/states.py",
        ".where(Order.id == order_id).with_for_update()",
        ".where(Order.id == order_id)",
        f"{_CHAOS} --database postgresql --only race",
    ),
    Mutation(
        "an order may change to any status",
        "tmt/checkout/states.py",
        "if trigger not in TRANSITIONS.get((order.status, to), ()):",
        "if False:",
        "tests/checkout/test_states.py -k sqlite",
    ),
    Mutation(
        "stock is held whatever is left",
        "tmt/catalog/stock.py",
        "held + sold + count <= capacity)]",
        "held + sold <= capacity)]",
        "tests/catalog/test_stock.py -k sqlite",
    ),
    Mutation(
        "an ended hold returns no ticket to the sale",
        "tmt/catalog/stock.py",
        "_move(session, event_id, quantities, held=-1, sold=0)",
        "_move(session, event_id, quantities, held=0, sold=0)",
        "tests/catalog/test_stock.py -k sqlite",
    ),
    Mutation(
        "tickets are sold without leaving the hold",
        "tmt/catalog/stock.py",
        "_move(session, event_id, quantities, held=-1, sold=+1)",
        "_move(session, event_id, quantities, held=0, sold=+1)",
        "tests/catalog/test_stock.py -k sqlite",
    ),
    Mutation(
        "another amount than the order's pays it",
        "tmt/payments/sync.py",
        "if (intent.amount_received, intent.currency) != (payment.amount, payment.currency):",
        "if intent.currency != payment.currency:",
        f"{_PAYMENTS}sync_amounts.py -k sqlite",
    ),
    Mutation(
        "another currency than the order's pays it",
        "tmt/payments/sync.py",
        "if (intent.amount_received, intent.currency) != (payment.amount, payment.currency):",
        "if intent.amount_received != payment.amount:",
        f"{_PAYMENTS}sync_amounts.py -k sqlite",
    ),
    Mutation(
        "a late payment without tickets is not refunded",
        "tmt/payments/sync.py",
        "    if amount > 0:\n        request_refund(",
        '    if amount > 0 and reason != "too_late":\n        request_refund(',
        f"{_PAYMENTS}sync_late.py -k 'gone and sqlite'",
    ),
    Mutation(
        "a late payment without tickets is not refunded, and chaos pays late",
        "tmt/payments/sync.py",
        "    if amount > 0:\n        request_refund(",
        '    if amount > 0 and reason != "too_late":\n        request_refund(',
        f"{_CHAOS} --only 'late payment'",
    ),
    Mutation(
        "a late payment gets tickets that are not held for it",
        "tmt/payments/sync.py",
        "if order.status.is_abandoned and not _hold_again(context):",
        "if False and not _hold_again(context):",
        f"{_PAYMENTS}sync_late.py -k sqlite",
    ),
    Mutation(
        "an event that is over or canceled takes money",
        "tmt/payments/sync.py",
        "if not is_upcoming(order.event, context.now):",
        "if False:",
        f"{_PAYMENTS}sync_late.py -k event",
    ),
    Mutation(
        "a payment that was applied is applied again",
        "tmt/payments/sync.py",
        "    if payment.status == PaymentIntentStatus.SUCCEEDED:\n        if payment.verified_at",
        "    if False:\n        if payment.verified_at",
        "tests/gateway/test_inbox.py -k 'replaying and sqlite'",
    ),
    Mutation(
        "a paid order has no confirmation in the outbox",
        "tmt/payments/sync.py",
        '    outbox.put(session, "confirmation", f"confirmation-{order.token}",',
        '    outbox.put(session, "none", f"confirmation-{order.token}",',
        "tests/gateway/test_inbox.py -k 'wh01 and sqlite'",
    ),
    Mutation(
        "a debit on its way is canceled when the hold ends",
        "tmt/payments/expiry.py",
        "if intent.status == PaymentIntentStatus.PROCESSING or not",
        "if not",
        f"{_PAYMENTS}expiry.py -k pay12",
    ),
    Mutation(
        "a hold ends without Stripe's word",
        "tmt/payments/expiry.py",
        "if payment.payment_intent_id and payment.status != PaymentIntentStatus.CANCELED:",
        "if False:",
        f"{_PAYMENTS}expiry.py -k sqlite",
    ),
    Mutation(
        "holds of the other mode are ended",
        "tmt/checkout/orders.py",
        "return and_(livemode, belongs_to(Order.account, account)) if account else true()",
        "return true()",
        f"{_PAYMENTS}expiry.py -k other_mode",
    ),
    Mutation(
        "an order that has ended stores its PaymentIntent",
        "tmt/payments/intents.py",
        "if payment.payment_intent_id is None and order.status == OrderStatus.HELD:",
        "if payment.payment_intent_id is None:",
        f"{_PAYMENTS}sync_crash.py -k order_ends",
    ),
    Mutation(
        "a call is repeated with another idempotency key",
        "tmt/payments/idempotency.py",
        "        return create(key)\n",
        "        return create(new_token())\n",
        f"{_PAYMENTS}lost_answers.py",
    ),
    Mutation(
        "a key that Stripe has forgotten is used again without looking",
        "tmt/payments/idempotency.py",
        "if key_expired or row.key_exhausted or",
        "if row.key_exhausted or",
        f"{_PAYMENTS}idempotency.py {_PAYMENTS}issue_refund.py -k day_later",
    ),
    Mutation(
        "a refund does not wait for an open dispute",
        "tmt/payments/refunds.py",
        "    if disputed:\n",
        "    if False:\n",
        f"{_PAYMENTS}disputed_refunds.py",
    ),
    Mutation(
        "a refund of a disputed order is accepted",
        "tmt/payments/refunds.py",
        "    if is_disputed(session, order.id):\n",
        "    if False:\n",
        f"{_PAYMENTS}issue_refund.py -k 'bank_disputes and sqlite'",
    ),
    Mutation(
        "a refund may exceed what is left",
        "tmt/payments/refunds.py",
        "if not 0 <= total <= left:",
        "if total < 0:",
        f"{_PAYMENTS}issue_refund.py -k cannot_be",
    ),
    Mutation(
        "a refund that was withdrawn is sent",
        "tmt/payments/refunds.py",
        "    if refund.status != RefundStatus.REQUESTED:\n        return\n    if disputed",
        "    if disputed",
        f"{_PAYMENTS}disputed_refunds.py -k withdrawn",
    ),
    Mutation(
        "an older answer takes back what a refund has become",
        "tmt/payments/refunds.py",
        "elif not is_new and not refund.status.may_follow(row.status):",
        "elif False:",
        f"{_PAYMENTS}external_refunds.py {_PAYMENTS}issue_refund.py {_PAYMENTS}disputed_refunds.py",
    ),
    Mutation(
        "a refund that failed counts as money that is gone",
        "tmt/payments/balances.py",
        "        Refund.status.not_in(FAILED_REFUNDS),\n",
        "",
        f"{_PAYMENTS}issue_refund.py -k ref03",
    ),
    Mutation(
        "money lost to a dispute can be refunded besides",
        "tmt/payments/balances.py",
        "        Dispute.status.in_(LOST_DISPUTES),\n",
        "        Dispute.status.not_in(LOST_DISPUTES),\n",
        f"{_PAYMENTS}disputes.py -k 'lost and sqlite'",
    ),
    Mutation(
        "refund requests are not withdrawn after a lost dispute",
        "tmt/payments/disputes.py",
        "refund.status, refund.failure_reason = RefundStatus.CANCELED,",
        "refund.status, refund.failure_reason = RefundStatus.REQUESTED,",
        f"{_PAYMENTS}disputed_refunds.py",
    ),
    Mutation(
        "a decided dispute is opened again by an older answer",
        "tmt/payments/disputes.py",
        "if row.updated_at > read_at:",
        "if False:",
        f"{_PAYMENTS}dispute_lifetimes.py -k sqlite",
    ),
    Mutation(
        "disputed tickets open the door",
        "tmt/payments/disputes.py",
        "if shop.settings.block_disputed and DisputeMeaning.UNDECIDED in meanings:",
        "if False:",
        f"{_PAYMENTS}disputes.py -k 'undecided and sqlite'",
    ),
    Mutation(
        "the webhook takes any signature",
        "tmt/gateway/stripe_api.py",
        "        _verify_signature(payload, signature, self._secrets)\n",
        "",
        "tests/gateway/test_webhook.py -k 'wh08 and sqlite'",
    ),
    Mutation(
        "Stripe is called inside a transaction",
        "tmt/gateway/stripe_api.py",
        "if transaction_is_open():",
        "if False:",
        "tests/concurrency/test_transactions.py -k 'refuses and sqlite'",
    ),
    Mutation(
        "an event of the other mode is handled",
        "tmt/gateway/inbox.py",
        "if row.livemode != shop.settings.livemode or event.connected_account not in own_accounts:",
        "if False:",
        "tests/gateway/test_inbox.py -k wh15",
    ),
    Mutation(
        "an event that comes before the id is stored is dropped",
        "tmt/payments/webhook_handlers.py",
        "    if expected:\n",
        "    if False:\n",
        "tests/gateway/test_inbox.py -k 'wh05 and sqlite'",
    ),
    Mutation(
        "a claimed row is claimed again while its lease lasts",
        "tmt/core/queued_rows.py",
        "return or_(lease.is_(None), lease < now, lease > now + LEASE + _CLOCK_TOLERANCE)",
        "return true()",
        "tests/core/test_outbox.py -k 'lease and sqlite'",
    ),
    Mutation(
        "one failing row stops the others",
        "tmt/core/queued_rows.py",
        "    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others",
        "    except KeyError as error:",
        "tests/core/test_outbox.py -k 'stops_no_other and sqlite'",
    ),
    Mutation(
        "a webhook's event is stored as often as it comes",
        "tmt/core/database.py",
        'return cast("CursorResult[Any]", result).rowcount == 1',
        "return True",
        "tests/core/test_insert_if_absent.py -k sqlite",
    ),
    Mutation(
        "writers on SQLite begin as readers",
        "tmt/core/database.py",
        '"BEGIN IMMEDIATE" if writes else "BEGIN"',
        '"BEGIN"',
        "tests/concurrency/test_transactions.py -k 'one_writer and sqlite'",
    ),
    Mutation(
        "the audit overlooks a payment that a held order has not stored",
        "tmt/operations/audit_stripe.py",
        "if intent.status in _COMPARED_STATUSES or not intent.status.is_known:\n        yield",
        "if not intent.status.is_known:\n        yield",
        "tests/operations/test_audit_stripe.py -k held_order",
    ),
    Mutation(
        "void tickets are in the PDF",
        "tmt/tickets/documents.py",
        "if canceled or ticket.status == TicketStatus.VALID",
        "if ticket.status",
        f"{_PAYMENTS}issue_refund.py -k 'goes_back_and_its and sqlite'",
    ),
]
