"""Subscriptions of what the catalogue sells, and what the sandbox's file holds of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tmt.sandbox import Sandbox
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import new

from .conftest import DAY, error_of, served_sandbox

TIERS = [
    {"up_to": 5, "unit_amount": 500},
    {"up_to": "inf", "unit_amount_decimal": "350.5"},
]


def subscribed(v1: Any, quantity: int = 1, **price: Any) -> Any:
    """A paid subscription to a monthly price."""
    customer = v1.customers.create(
        {
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    data = {"currency": "eur", "recurring": {"interval": "month"}, **price}
    data = {"product_data": {"name": "Friend"}, **data}
    items = [{"price": v1.prices.create(data).id, "quantity": quantity}]
    params = {"customer": customer.id, "items": items, "expand": ["latest_invoice"]}
    return v1.subscriptions.create(params)


@pytest.mark.parametrize(
    ("mode", "quantity", "amount"),
    [("volume", 3, 1500), ("volume", 8, 2804), ("graduated", 7, 3201)],
)
def test_tiers_are_billed_and_prorated(v1: Any, mode: str, quantity: int, amount: int) -> None:
    tiers = {"billing_scheme": "tiered", "tiers_mode": mode, "tiers": TIERS}
    subscription = subscribed(v1, quantity, **tiers)
    invoice, item = subscription.latest_invoice, subscription.items.data[0]
    assert (subscription.status, invoice.amount_paid) == ("active", amount)
    assert not {"_tiers", "tiers"} & item.price.to_dict().keys()
    assert item.plan.to_dict() == v1.plans.retrieve(item.price.id).to_dict()
    changed = {
        "items": [{"id": item.id, "quantity": 0}],
        "proration_date": item.current_period_start,
    }
    details = {"subscription": subscription.id, "subscription_details": changed}
    preview = v1.invoices.create_preview(details)
    assert -amount in [line.amount for line in preview.lines.data]


def test_a_unit_amount_of_fractions_is_rounded_once(v1: Any) -> None:
    line = subscribed(v1, 3, unit_amount_decimal="1000.5").latest_invoice.lines.data[0]
    assert (line.amount, line.description) == (3002, "3 × Friend (at 10.005 eur / month)")


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("subscriptions", "customer"),
        ("invoices", "subscription"),
        ("invoice_items", "invoice"),
        ("credit_notes", "invoice"),
        ("prices", "product"),
        ("promotion_codes", "coupon"),
    ],
)
def test_lists_by_what_there_is_not_are_refused(v1: Any, resource: str, name: str) -> None:
    error = error_of(getattr(v1, resource).list, {name: "none"})
    assert (error.code, error.param) == ("resource_missing", name)


def test_what_a_statement_cannot_show_is_refused(v1: Any) -> None:
    params = {"customer": v1.customers.create().id, "statement_descriptor": "a" * 23}
    assert error_of(v1.invoices.create, params).param == "statement_descriptor"


def test_a_file_of_an_older_layout_keeps_its_objects(v1: Any, box: Sandbox, store: Path) -> None:
    subscription = subscribed(v1, unit_amount=2000)
    box.close()
    with sqlite3.connect(store) as database:
        database.execute("CREATE INDEX objects_payout ON objects (kind)")
        database.execute("PRAGMA user_version = 4")
    database.close()
    with served_sandbox(store) as (_, _, v1):
        assert v1.subscriptions.retrieve(subscription.id).status == "active"
    with sqlite3.connect(store) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert "objects_payout" not in names
    assert "invoices_of_subscription" in names


@pytest.mark.parametrize("keeps", [False, True])
def test_a_part_that_fails_leaves_what_it_says(box: Sandbox, keeps: bool) -> None:
    store, kept, other = box._store, new("product", 1), new("product", 2)
    changed = kept | {"name": "Changed"}
    error = api_error("price_is_default")
    error.keep_changes = keeps

    def fail() -> None:
        with store.savepoint():
            store.put(other)
            store.put(changed)
            assert store.get(kept["id"]) == changed
            assert store.select("product") == [other, changed]
            raise error

    with store.transaction():
        store.put(kept)
        with pytest.raises(ApiError):
            fail()
        assert store.get(kept["id"]) == (changed if keeps else kept)
    assert store.select("product") == ([other, changed] if keeps else [kept])


def test_events_that_nobody_could_see_are_not_stored(tmp_path: Path) -> None:
    with served_sandbox(tmp_path / "other.sqlite") as (box, _, v1):
        subscribed(v1, unit_amount=2000)
        box.advance(100 * DAY)
        assert len(v1.invoices.list().data) == 4
        now = box._store.now()
        listed = [*v1.events.list({"limit": 100}).auto_paging_iter()]
        assert min(event.created for event in listed) >= now - 30 * DAY
        types = [event.type for event in listed]
        assert types.count("invoice.paid") == types.count("invoice.upcoming") == 1
        stored = box._store.rows("SELECT COUNT(*) FROM objects WHERE kind = 'event'")[0][0]
        assert stored <= len(listed) + 2
