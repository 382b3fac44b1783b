"""Plans: what a catalogue file may say of them, and what Stripe has of them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.catalog.files import NOW, errors_of, exported, written
from tests.stripe_answers import StripeAnswers
from tmt.billing.models import PlanPrice
from tmt.catalog.file_format import read_catalogue
from tmt.catalog.models import Plan

PLAN = {
    "slug": "amigos",
    "family": "amigos",
    "names": "{es: Amigos, en: Friends}",
    "status": "published",
    "currency": "EUR",
    "price": "10.00",
    "interval": "month",
}
BENEFITS = {
    "presale_days": "3",
    "member_percent_off": "20",
    "member_places": "2",
    "included_places": "1",
}


def plan_file(*plans: dict[str, str | None]) -> str:
    rows = []
    for changed in plans or ({},):
        fields = {name: value for name, value in (PLAN | changed).items() if value is not None}
        rows.append("- " + "\n  ".join(f"{name}: {value}" for name, value in fields.items()))
    return "\n".join(["plans:", *rows, ""])


def run_import(front, text: str, *options: str):
    tool = front.app.test_cli_runner()
    return tool.invoke(args=["catalog", "import", "-", *options], input=text)


def prices(front) -> list[tuple[int, str | None, str | None]]:
    with front.shop.db.reading() as session:
        rows = session.scalars(select(PlanPrice).order_by(PlanPrice.id)).all()
        return [(row.amount, row.price_id, row.product_id) for row in rows]


def at_stripe(front):
    """The price that has the plan's key, with its product."""
    listing = {"lookup_keys": ["tmt_amigos"], "expand": ["data.product"]}
    (price,) = front.stripe.v1.prices.list(listing).data
    return price


WRONG = [
    ({"price": "0"}, "price: must be more than 0"),
    ({"price": "0.20"}, "price: cannot be charged by Stripe"),
    ({"price": "9.999"}, "price: 9.999 has more decimals than EUR has"),
    ({"interval": "week"}, "interval: must be one of month, year"),
    ({"names": "Amigos"}, "names: must be a name for each language: es, en"),
    ({"names": "{fr: Amis}"}, "names: must be a name for each language: es, en"),
    ({"names": "{es: 1984}"}, "names: each name must be text"),
    ({"family": None}, "family: is missing"),
    ({"places": "2"}, "places: unknown field; known here: slug, family, names"),
    ({"member_percent_off": "20"}, "member_places: is missing: for how many tickets"),
    ({"member_places": "2"}, "member_places: needs member_percent_off or"),
    (BENEFITS | {"member_amount_off": "2"}, "member_amount_off: must be left out, as member_per"),
    ({"member_amount_off": "0", "member_places": "1"}, "member_amount_off: must be more than 0"),
    ({"donation": "true", "included_places": "1"}, "included_places: must be left out: a donation"),
    ({"donation": "true"} | BENEFITS, "member_percent_off: must be left out: a donation"),
]


@pytest.mark.parametrize(("changed", "complaint"), WRONG)
def test_a_wrong_plan_is_refused_with_its_field(changed, complaint):
    (error,) = errors_of(plan_file(changed))
    assert f"plans[0].{complaint}" in error
    assert error.startswith("events.yaml:")


def test_a_plan_comes_once_in_a_file_and_may_have_an_events_slug():
    (error,) = errors_of(plan_file({}, {}))
    assert "plans[1].slug: 'amigos' is used above already" in error
    both = read_catalogue(written(slug="amigos") + plan_file({"donation": "true"}), "f", NOW)
    assert (both.events[0].slug, both.plans[0].slug) == ("amigos", "amigos")


@pytest.mark.databases("sqlite")
def test_plans_are_exported_as_they_were_imported(shopfront):
    yen = {"slug": "yen", "currency": "JPY", "price": "900", "member_amount_off": "100"}
    text = plan_file(BENEFITS, {"slug": "don", "donation": "true"}, yen | {"member_places": "4"})
    assert "3 created" in run_import(shopfront, text, "--dry-run").output
    assert "plans:" not in exported(shopfront.shop.db)
    assert "plans: 3 created, 0 updated, 0 unchanged" in run_import(shopfront, text).output
    again = exported(shopfront.shop.db)
    assert read_catalogue(again, "again", NOW).plans == read_catalogue(text, "f", NOW).plans
    assert "plans: 0 created, 0 updated, 3 unchanged" in run_import(shopfront, again).output
    refused = run_import(shopfront, plan_file({"family": "other"}))
    assert refused.exit_code == 1
    assert "plan 'amigos': family: must stay amigos" in refused.output


def test_a_plan_is_a_product_and_a_price_at_stripe(shopfront):
    front = shopfront
    run_import(front, plan_file({"status": "draft"}))
    front.run_jobs()
    assert prices(front) == []
    run_import(front, plan_file())
    front.run_jobs()
    first = at_stripe(front)
    assert (first.unit_amount, first.currency, first.recurring.interval) == (1000, "eur", "month")
    assert (first.product.name, first.metadata["tmt_plan"]) == ("Amigos", "amigos")
    assert prices(front) == [(1000, first.id, first.product.id)]
    # Another name is the same price, another price is another one of the same product.
    run_import(front, plan_file({"names": "{es: Amigas}"} | BENEFITS))
    front.run_jobs()
    assert (at_stripe(front).id, at_stripe(front).product.name) == (first.id, "Amigas")
    run_import(front, plan_file({"price": "12"}))
    front.run_jobs()
    second = at_stripe(front)
    assert (second.unit_amount, second.product.id) == (1200, first.product.id)
    assert front.stripe.v1.prices.retrieve(first.id).active
    run_import(front, plan_file())
    front.run_jobs()
    assert [amount for amount, *_ids in prices(front)] == [1000, 1200, 1000]
    assert len({price for _amount, price, _product in prices(front)}) == 3


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("lost", ["POST /v1/products", "POST /v1/prices"])
def test_an_answer_that_is_lost_creates_nothing_twice(shopfront, lost):
    front, answers = shopfront, StripeAnswers(shopfront)
    answers.rules[lost] = {}.__getitem__
    run_import(front, plan_file())
    front.run_jobs()
    assert prices(front) == [(1000, None, None)]
    answers.rules.clear()
    front.clock.move(hours=1)
    front.run_jobs()
    assert prices(front) == [(1000, at_stripe(front).id, at_stripe(front).product.id)]
    assert len(front.stripe.v1.products.list().data) == 1
    with front.shop.db.reading() as session:
        assert session.scalars(select(Plan.version)).all() == [1]
