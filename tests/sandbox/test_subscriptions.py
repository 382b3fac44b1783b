"""Subscriptions at the official SDK: how they start, renew, fail and end, as the clock runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tmt.sandbox import Sandbox
from tmt.sandbox.billing_periods import next_boundary
from tmt.sandbox.billing_settings import BillingSettings

from .conftest import BEARER, DAY, error_of
from .driver import Driver
from .shapes import PRESENCE
from .test_invoices import save_card, types_since

DEFAULT = {"payment_behavior": "default_incomplete"}
SECRET = {"expand": ["latest_invoice.confirmation_secret"]}
RETURN = {"return_url": "https://shop.example/"}
SAVING = {"save_default_payment_method": "on_subscription"}


@pytest.fixture(autouse=True)
def prices(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monthly, a yearly, a weekly and a free price of one product."""
    absent = "deleted currency_options tiers product tiers_mode usage_type"
    for kind in ("price", "plan", "price.recurring"):
        null = "custom_unit_amount lookup_key nickname tiers_mode transform_quantity meter"
        null += " trial_period_days transform_usage"
        monkeypatch.setitem(PRESENCE, kind, {"absent": absent, "null": null})
    box._store.put({"id": "prod_friend", "object": "product", "name": "Friend", "active": True})
    for id, interval, amount in (
        ("price_month", "month", 2000),
        ("price_year", "year", 20000),
        ("price_week", "week", 500),
        ("price_free", "month", 0),
    ):
        recurring = {"interval": interval, "interval_count": 1, "usage_type": "licensed"}
        body = {"id": id, "object": "price", "active": True, "billing_scheme": "per_unit"}
        body |= {"created": 1, "currency": "eur", "custom_unit_amount": None, "livemode": False}
        body |= {"lookup_key": None, "metadata": {}, "nickname": None, "product": "prod_friend"}
        body |= {"recurring": recurring | {"meter": None, "trial_period_days": None}}
        body |= {"tax_behavior": "unspecified", "tiers_mode": None, "transform_quantity": None}
        body |= {"type": "recurring", "unit_amount": amount, "unit_amount_decimal": str(amount)}
        box._store.put(body)


@pytest.fixture
def customer(v1: Any) -> Any:
    return v1.customers.create({"name": "Ana", "email": "ana@example.com"})


def subscribe(v1: Any, customer: Any, price: str = "price_month", **params: Any) -> Any:
    items = [{"price": price, "quantity": params.pop("quantity", 1)}]
    return v1.subscriptions.create({"customer": customer.id, "items": items, **params})


def intent_of(v1: Any, invoice: Any) -> str:
    id = invoice if isinstance(invoice, str) else invoice.id
    payment: str = v1.invoice_payments.list({"invoice": id}).data[0].payment.payment_intent
    return payment


def status(v1: Any, subscription: Any) -> str:
    value: str = v1.subscriptions.retrieve(subscription.id).status
    return value


def test_default_incomplete_is_paid_in_place(v1: Any, customer: Any) -> None:
    v1.customers.update(customer.id, {"name": "Bea"})
    subscription = subscribe(v1, customer, payment_settings=SAVING, **DEFAULT, **SECRET)
    assert subscription.status == "incomplete"
    invoice = subscription.latest_invoice
    assert (invoice.status, invoice.billing_reason) == ("open", "subscription_create")
    assert types_since(v1, "customer.updated") == [
        "customer.subscription.created",
        "invoice.created",
        "invoice.updated",
        "invoice.finalized",
        "payment_intent.created",
    ]
    (line,) = invoice.lines.data
    assert line.description == "1 × Friend (at 20.00 eur / month)"
    intent = invoice.confirmation_secret.client_secret.partition("_secret")[0]
    declined = {"payment_method": "pm_card_visa_chargeDeclined", **RETURN}
    error_of(v1.payment_intents.confirm, intent, declined)
    assert status(v1, subscription) == "incomplete"
    v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa", **RETURN})
    active = v1.subscriptions.retrieve(subscription.id)
    assert (active.status, active.default_payment_method[:3]) == ("active", "pm_")
    types = types_since(v1, "invoice.payment_failed")
    expected = "charge.failed payment_method.attached charge.succeeded payment_intent.succeeded"
    expected += " invoice.updated invoice.paid customer.subscription.updated"
    assert [type for type in types if type in expected.split()] == expected.split()
    span = active["items"].data[0].current_period_end - active.billing_cycle_anchor
    assert 28 * DAY <= span <= 31 * DAY


@pytest.mark.parametrize(
    ("token", "behavior", "expected"),
    [
        ("pm_card_visa", "allow_incomplete", "active"),
        ("pm_card_chargeCustomerFail", "allow_incomplete", "incomplete"),
        ("pm_card_authenticationRequired", "allow_incomplete", "incomplete"),
        ("pm_card_chargeCustomerFail", "error_if_incomplete", None),
        ("pm_card_visa", "pending_if_incomplete", None),
        (None, "allow_incomplete", None),
    ],
)
def test_how_the_first_invoice_is_paid(
    v1: Any, customer: Any, token: str | None, behavior: str, expected: str | None
) -> None:
    if token:
        save_card(v1, customer, token)
    if expected is None:
        error_of(subscribe, v1, customer, payment_behavior=behavior)
        assert v1.subscriptions.list({"status": "all"}).data == []
        return
    subscription = subscribe(v1, customer, payment_behavior=behavior)
    assert subscription.status == expected
    (created,) = v1.events.list({"type": "customer.subscription.created"}).data
    assert created.data.object["status"] == expected
    assert v1.events.list({"type": "customer.subscription.updated"}).data == []


def test_nobody_pays_in_time(v1: Any, customer: Any, driver: Driver) -> None:
    subscription = subscribe(v1, customer, **DEFAULT)
    driver.advance(hours=24)
    assert status(v1, subscription) == "incomplete_expired"
    assert v1.invoices.retrieve(subscription.latest_invoice).status == "void"
    assert error_of(v1.subscriptions.cancel, subscription.id).http_status == 400


def test_a_year_of_renewals(v1: Any, customer: Any, driver: Driver) -> None:
    save_card(v1, customer)
    subscription = subscribe(v1, customer, quantity=2)
    driver.advance(days=366.1)
    invoices = v1.invoices.list({"subscription": subscription.id, "limit": 100}).data
    assert [invoice.amount_paid for invoice in invoices] == [4000] * 13
    assert {invoice.status for invoice in invoices} == {"paid"}
    numbers = [int(invoice.number.partition("-")[2]) for invoice in invoices]
    assert numbers == [*range(13, 0, -1)]
    starts = [invoice.lines.data[0].period.start for invoice in invoices]
    ends = [invoice.lines.data[0].period.end for invoice in invoices]
    assert starts[:-1] == ends[1:]
    last = v1.subscriptions.retrieve(subscription.id)
    assert (last.status, last.latest_invoice) == ("active", invoices[0].id)
    (upcoming,) = v1.events.list({"type": "invoice.upcoming"}).data
    assert upcoming.data.object["total"] == 4000
    cycle = types_since(v1, "invoice.upcoming")
    assert cycle[:2] == ["customer.subscription.updated", "invoice.created"]


def test_the_console_sets_what_follows_a_failure(root: str) -> None:
    url, page = f"{root}/billing", {"Accept": "text/html", "Origin": root}
    changes = {"retry_days": [1, 2], "after_retries": "unpaid", "forgive_after_retries": True}
    assert requests.post(url, json=changes, headers=BEARER).json() == {
        **changes,
        "after_overdue": "past_due",
        "overdue_days": 30,
        "upcoming_days": 7,
    }
    shown = requests.post(url, {"retry_days": "4 5 6", "after_retries": "pause"}, headers=page)
    assert 'value="4 5 6"' in shown.text
    assert "<option selected>pause" in shown.text
    for wrong in ({"retry_days": "0"}, {"after_retries": "explode"}, {"colour": "red"}):
        assert requests.post(url, json=wrong, headers=BEARER).status_code == 400


def late(v1: Any, customer: Any, driver: Driver) -> Any:
    """A subscription whose first renewal has failed."""
    save_card(v1, customer)
    subscription = subscribe(v1, customer)
    save_card(v1, customer, "pm_card_chargeCustomerFail")
    driver.advance(days=31.1)
    assert status(v1, subscription) == "past_due"
    assert v1.customers.retrieve(customer.id).delinquent
    return subscription


def test_a_renewal_that_fails_and_recovers(v1: Any, customer: Any, driver: Driver) -> None:
    subscription = late(v1, customer, driver)
    types = types_since(v1, "invoice.finalized")
    expected = "payment_intent.payment_failed invoice.updated invoice.payment_failed"
    expected += " customer.subscription.updated customer.updated"
    assert [type for type in types if type in expected.split()] == expected.split()
    save_card(v1, customer)
    driver.advance(days=3.1)
    recovered = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (recovered.status, recovered.latest_invoice.attempt_count) == ("active", 2)
    assert not v1.customers.retrieve(customer.id).delinquent


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due"), ("pause", "paused")],
)
def test_a_renewal_that_nobody_pays(
    v1: Any, box: Sandbox, customer: Any, driver: Driver, ending: str, expected: str
) -> None:
    BillingSettings(retry_days=(1, 2), after_retries=ending).save(box._store)
    subscription = late(v1, customer, driver)
    driver.advance(days=4)
    ended = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert ended.status == expected
    invoice = ended.latest_invoice
    assert (invoice.status, invoice.attempt_count, invoice.auto_advance) == ("open", 3, False)
    assert invoice.next_payment_attempt is None
    if expected == "canceled":
        assert ended.cancellation_details.reason == "payment_failed"
    if expected == "unpaid":
        driver.advance(days=31)
        latest = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
        assert latest.latest_invoice.status == "draft"
    if expected == "paused":
        save_card(v1, customer)
        assert v1.subscriptions.resume(subscription.id).status == "active"


def test_the_last_attempt_ends_it_after_a_later_invoice_too(
    v1: Any, customer: Any, driver: Driver
) -> None:
    save_card(v1, customer)
    subscription = subscribe(v1, customer, "price_week")
    save_card(v1, customer, "pm_card_chargeCustomerFail")
    driver.advance(days=7 + 3 + 5 + 6)
    assert status(v1, subscription) == "past_due"
    driver.advance(days=1.1)
    assert status(v1, subscription) == "canceled"


def test_voiding_or_forgiving_the_latest_invoice_makes_it_active(
    v1: Any, customer: Any, driver: Driver
) -> None:
    subscription = late(v1, customer, driver)
    latest = v1.subscriptions.retrieve(subscription.id).latest_invoice
    v1.invoices.mark_uncollectible(latest)
    assert status(v1, subscription) == "active"


def test_canceling_and_changing_ones_mind(v1: Any, customer: Any, driver: Driver) -> None:
    save_card(v1, customer)
    subscriptions = v1.subscriptions
    id = subscribe(v1, customer).id
    leaving = subscriptions.update(id, {"cancel_at_period_end": True})
    assert (leaving.status, leaving.canceled_at is not None) == ("active", True)
    assert leaving.cancellation_details.reason == "cancellation_requested"
    (event,) = v1.events.list({"type": "customer.subscription.updated"}).data
    assert event.data.previous_attributes["cancel_at_period_end"] is False
    stays = subscriptions.update(id, {"cancel_at_period_end": False, "cancel_at": ""})
    assert (stays.canceled_at, stays.cancellation_details.reason) == (None, None)
    # As Stripe's portal cancels: a moment, and not the end of the period.
    leaving = subscriptions.update(id, {"cancel_at": "max_period_end"})
    end = leaving["items"].data[0].current_period_end
    assert (leaving.cancel_at, leaving.cancel_at_period_end) == (end, False)
    driver.advance(days=32)
    gone = subscriptions.retrieve(id)
    assert (gone.status, gone.ended_at) == ("canceled", end)
    assert len(v1.invoices.list({"subscription": id}).data) == 1
    assert subscriptions.list().data == []
    assert [s.id for s in subscriptions.list({"status": "ended"}).data] == [id]
    now = subscriptions.cancel(subscribe(v1, customer).id)
    assert (now.status, now.ended_at is not None) == ("canceled", True)
    assert v1.events.list().data[0].type == "customer.subscription.deleted"


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")],
)
def test_a_trial_that_ends_without_a_method(
    v1: Any, customer: Any, driver: Driver, missing: str, expected: str
) -> None:
    settings = {"end_behavior": {"missing_payment_method": missing}}
    trial = subscribe(v1, customer, trial_period_days=14, trial_settings=settings)
    assert (trial.status, trial.pending_setup_intent[:5]) == ("trialing", "seti_")
    first = v1.invoices.retrieve(trial.latest_invoice)
    assert (first.status, first.total) == ("paid", 0)
    driver.advance(days=12)
    assert v1.events.list({"type": "customer.subscription.trial_will_end"}).data
    driver.advance(days=2.1)
    assert status(v1, trial) == expected


def test_a_trial_that_is_paid(v1: Any, customer: Any, driver: Driver) -> None:
    save_card(v1, customer)
    trial = subscribe(v1, customer, trial_period_days=2)
    assert trial.pending_setup_intent is None
    driver.advance(days=2.1)
    active = v1.subscriptions.retrieve(trial.id, {"expand": ["latest_invoice"]})
    assert (active.status, active.latest_invoice.amount_paid) == ("active", 2000)
    assert active.latest_invoice.lines.data[0].period.start == trial.trial_end


def test_a_subscription_on_invoice(v1: Any, customer: Any, driver: Driver) -> None:
    terms = {"collection_method": "send_invoice", "days_until_due": 14}
    assert error_of(subscribe, v1, customer, days_until_due=14).param == "days_until_due"
    subscription = subscribe(v1, customer, **terms)
    assert subscription.status == "active"
    driver.advance(hours=1.1)
    invoice = v1.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, types_since(v1, "invoice.finalized")[-1]) == ("open", "invoice.sent")
    driver.advance(days=14)
    assert status(v1, subscription) == "past_due"
    v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert status(v1, subscription) == "active"


def test_a_debit_starts_a_subscription_before_it_has_settled(
    v1: Any, customer: Any, driver: Driver
) -> None:
    subscription = subscribe(v1, customer, payment_settings=SAVING, **DEFAULT)
    intent = intent_of(v1, subscription.latest_invoice)
    debit = {"payment_method": "pm_sepaDebit_failed_de", **RETURN}
    debit["mandate_data"] = {"customer_acceptance": {"type": "offline"}}
    v1.payment_intents.confirm(intent, debit)
    assert status(v1, subscription) == "active"
    driver.advance(days=6)
    # As Stripe does: the invoice is void, the subscription active.
    assert v1.invoices.retrieve(subscription.latest_invoice).status == "void"
    assert status(v1, subscription) == "active"


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")],
)
def test_collection_that_is_paused(
    v1: Any, customer: Any, driver: Driver, behavior: str, expected: str
) -> None:
    save_card(v1, customer)
    subscription = subscribe(v1, customer)
    paused = v1.subscriptions.update(subscription.id, {"pause_collection": {"behavior": behavior}})
    assert paused.pause_collection.behavior == behavior
    driver.advance(days=32)
    latest = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (latest.status, latest.latest_invoice.status) == ("active", expected)


@pytest.fixture
def halfway(v1: Any, customer: Any, driver: Driver) -> Any:
    """A subscription whose month is half over, and the change that makes it three places."""
    save_card(v1, customer)
    subscription = subscribe(v1, customer)
    item = subscription["items"].data[0]
    driver.advance(seconds=(item.current_period_end - item.current_period_start) // 2)
    return subscription, {"items": [{"id": item.id, "quantity": 3}]}


def test_a_change_is_previewed_and_billed_by_the_second(v1: Any, halfway: Any) -> None:
    subscription, change = halfway
    item = subscription["items"].data[0]
    at = (item.current_period_start + item.current_period_end) // 2
    now = {"proration_behavior": "always_invoice", "proration_date": at}
    asked = {"subscription": subscription.id, "subscription_details": {**change, **now}}
    preview = v1.invoices.create_preview(asked)
    assert [line.amount for line in preview.lines.data] == [-1000, 3000]
    assert preview.lines.data[0].parent.subscription_item_details.proration
    assert v1.invoice_items.list().data == []
    asked["subscription_details"]["cancel_now"] = True
    assert error_of(v1.invoices.create_preview, asked).param == "subscription_details[cancel_now]"
    changed = v1.subscriptions.update(subscription.id, {**change, **now})
    invoice = v1.invoices.retrieve(changed.latest_invoice)
    assert (invoice.billing_reason, invoice.amount_paid) == ("subscription_update", 2000)
    assert changed["items"].data[0].quantity == 3
    assert v1.invoices.create_preview({"subscription": subscription.id}).total == 6000


def test_items_are_objects_of_their_own(v1: Any, halfway: Any) -> None:
    subscription, _ = halfway
    item = subscription["items"].data[0]
    items, free = v1.subscription_items, {"proration_behavior": "none"}
    assert items.update(item.id, {"quantity": 2, **free}).quantity == 2
    other = items.create({"subscription": subscription.id, "price": "price_free", **free})
    listed = items.list({"subscription": subscription.id}).data
    assert [i.id for i in listed] == [item.id, other.id]
    items.delete(other.id)
    assert error_of(items.retrieve, other.id).http_status == 404
    assert error_of(items.delete, item.id).http_status == 400
    assert items.retrieve(item.id).price.id == "price_month"
    assert v1.invoice_items.list().data == []


def test_a_queued_change_is_billed_with_the_renewal(v1: Any, halfway: Any, driver: Driver) -> None:
    subscription, change = halfway
    v1.subscriptions.update(subscription.id, change)
    queued = sum(item.amount for item in v1.invoice_items.list({"pending": True}).data)
    assert 1990 <= queued <= 2000
    driver.advance(days=17)
    latest = v1.subscriptions.retrieve(subscription.id).latest_invoice
    assert v1.invoices.retrieve(latest).amount_paid == 6000 + queued


@pytest.mark.parametrize(
    ("behavior", "status_after", "quantity", "code"),
    [
        ("allow_incomplete", "past_due", 3, None),
        ("default_incomplete", "past_due", 3, None),
        ("pending_if_incomplete", "active", 1, None),
        ("error_if_incomplete", "active", 1, "card_declined"),
    ],
)
def test_a_change_that_is_not_paid(
    v1: Any, customer: Any, halfway: Any, behavior: str, status_after: str, quantity: int, code: Any
) -> None:
    subscription, change = halfway
    save_card(v1, customer, "pm_card_chargeCustomerFail")
    change |= {"proration_behavior": "always_invoice", "payment_behavior": behavior}
    if code:
        assert error_of(v1.subscriptions.update, subscription.id, change).code == code
    else:
        v1.subscriptions.update(subscription.id, change)
    after = v1.subscriptions.retrieve(subscription.id)
    assert (after.status, after["items"].data[0].quantity) == (status_after, quantity)
    assert (after.latest_invoice == subscription.latest_invoice) == bool(code)
    if code:
        return
    save_card(v1, customer)
    v1.invoices.pay(after.latest_invoice)
    paid = v1.subscriptions.retrieve(subscription.id)
    assert (paid.status, paid["items"].data[0].quantity) == ("active", 3)
    assert paid.pending_update is None


def test_a_pending_change_expires(v1: Any, customer: Any, halfway: Any, driver: Driver) -> None:
    subscription, change = halfway
    save_card(v1, customer, "pm_card_chargeCustomerFail")
    change |= {"proration_behavior": "always_invoice"}
    change["payment_behavior"] = "pending_if_incomplete"
    pending = v1.subscriptions.update(subscription.id, change)
    assert pending.pending_update.subscription_items[0].quantity == 3
    driver.advance(hours=24)
    after = v1.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert (after.status, after.pending_update) == ("active", None)
    assert (after["items"].data[0].quantity, after.latest_invoice.status) == (1, "void")


def test_from_monthly_to_yearly_begins_a_new_period(v1: Any, halfway: Any) -> None:
    subscription, _ = halfway
    change = {"items": [{"id": subscription["items"].data[0].id, "price": "price_year"}]}
    assert error_of(v1.subscriptions.update, subscription.id, change).param == "items"
    change["billing_cycle_anchor"] = {"type": "now"}
    yearly = v1.subscriptions.update(subscription.id, {**change, "expand": ["latest_invoice"]})
    assert 18999 <= yearly.latest_invoice.amount_paid <= 19002
    item = yearly["items"].data[0]
    assert item.current_period_end - item.current_period_start >= 365 * DAY


def test_a_deleted_customer_has_no_subscriptions(v1: Any, customer: Any) -> None:
    save_card(v1, customer)
    subscription = subscribe(v1, customer, "price_free")
    assert subscription.status == "active"
    v1.customers.delete(customer.id)
    assert status(v1, subscription) == "canceled"


@pytest.mark.parametrize(
    ("interval", "count", "anchor", "after", "expected"),
    [
        ("month", 1, "2027-01-31", "2027-01-31", "2027-02-28"),
        ("month", 1, "2027-01-31", "2027-02-28", "2027-03-31"),
        ("month", 3, "2027-11-30", "2027-12-01", "2028-02-29"),
        ("year", 1, "2028-02-29", "2028-02-29", "2029-02-28"),
        ("year", 1, "2028-02-29", "2031-03-01", "2032-02-29"),
        ("week", 2, "2027-01-01", "2027-01-15", "2027-01-29"),
        ("day", 1, "2027-01-01", "2027-01-01", "2027-01-02"),
    ],
)
def test_the_end_of_a_period(
    interval: str, count: int, anchor: str, after: str, expected: str
) -> None:
    moments = [
        int(datetime.fromisoformat(day).replace(hour=9, tzinfo=UTC).timestamp())
        for day in (anchor, after, expected)
    ]
    recurring = {"interval": interval, "interval_count": count}
    assert next_boundary(moments[0], recurring, moments[1]) == moments[2]
