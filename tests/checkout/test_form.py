"""The checkout form below the web: what was typed, made into a request or into errors."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from tmt.catalog.listing import Offer, SaleState
from tmt.checkout.forms import email_key, read_checkout
from tmt.core.i18n import use_locale
from tmt.core.ids import new_token


def an_offer(type_id: int, most: int = 6, state: SaleState = SaleState.ON_SALE) -> Offer:
    return Offer(type_id, "General", "", 2500, state, most, most, None, None)


OFFERS = (
    an_offer(1),
    an_offer(2),
    an_offer(3, 0, SaleState.SOLD_OUT),
    an_offer(4, 0, SaleState.LATER),
)
GOOD = {
    "checkout_token": new_token(),
    "quantity-1": "2",
    "shown_price-1": "2500",
    "name": "Ana Ejemplo",
    "email": "ana@example.com",
}


def read(**changed: str | list[str]):
    typed = MultiDict(GOOD | {key.replace("_id_", "-"): value for key, value in changed.items()})
    with use_locale("en"):
        return read_checkout(typed, OFFERS, 8)


def test_a_good_form_is_a_request():
    wanted, form = read(holder_id_1=["Eva", "  Leo \n Sanz "])
    assert not form.errors
    assert not form.problem
    assert wanted
    assert (wanted.name, wanted.email) == ("Ana Ejemplo", "ana@example.com")
    assert wanted.quantities == {1: 2}
    assert wanted.shown_prices == {1: 2500}
    assert wanted.holders == {1: ["Eva", "Leo Sanz"]}


@pytest.mark.parametrize(
    "typed", ["-1", "+1", "1.5", "1e1", "two", "²", "٣", "０", "0x2", "1 0", "NaN", "9" * 13]
)
def test_a_quantity_that_is_no_whole_number_is_told_beside_its_field(typed):
    wanted, form = read(quantity_id_1=typed)
    assert wanted is None
    assert "whole number" in form.errors["quantity-1"]


@pytest.mark.parametrize("typed", ["7", "99", "9999", "999999999999", "0007"])
def test_a_quantity_above_what_can_be_chosen_is_told_with_the_most(typed):
    wanted, form = read(quantity_id_1=typed)
    assert wanted is None
    assert form.errors == {"quantity-1": "You can choose up to 6 tickets here."}


@pytest.mark.parametrize("type_id", [3, 4])
def test_what_is_not_on_sale_cannot_be_chosen(type_id):
    wanted, form = read(**{f"quantity_id_{type_id}": "1"})
    assert wanted is None
    assert set(form.errors) == {f"quantity-{type_id}"}


@pytest.mark.parametrize("typed", ["0", "", " ", "00"])
def test_no_place_at_all_is_told_once_for_all_fields(typed):
    wanted, form = read(quantity_id_1=typed)
    assert wanted is None
    assert set(form.errors) == {"quantities"}


def test_the_limit_of_an_order_counts_over_all_types():
    assert read(quantity_id_1="4", quantity_id_2="4")[0]
    wanted, form = read(quantity_id_1="5", quantity_id_2="4")
    assert wanted is None
    assert form.errors == {"quantities": "You can buy up to 8 tickets per order."}


def test_types_of_another_event_are_not_read():
    wanted, form = read(quantity_id_1="0", quantity_id_77="2")
    assert wanted is None
    assert set(form.errors) == {"quantities"}
    assert "quantity-77" not in form.values


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("name", ""),
        ("name", " \t\u200b\x00 "),
        ("name", "x" * 121),
        ("email", ""),
        ("email", "ana"),
        ("email", "ana@"),
        ("email", "ana@example"),
        ("email", "ana@example..com"),
        ("email", "ana@example.com\nBcc: eva@example.com"),
        ("email", "ana@example.com, eva@example.com"),
        ("email", "a@" + "b" * 60 + ("." + "c" * 60) * 4 + ".com"),
        ("email", "ana\x00@example.com"),
    ],
)
def test_what_is_wrong_with_the_buyer_is_told_beside_the_field(field, typed):
    wanted, form = read(**{field: typed})
    assert wanted is None
    assert set(form.errors) == {field}
    assert form.values[field] == typed[:300]
    assert form.values["quantity-1"] == "2"


def test_every_error_is_told_at_once_and_everything_typed_is_kept():
    typed = {"name": "", "email": "ana", "quantity_id_1": "x", "holder_id_1": ["Eva"]}
    wanted, form = read(**typed)
    assert wanted is None
    assert set(form.errors) == {"name", "email", "quantity-1"}
    assert form.values["quantity-1"] == "x"
    assert form.values["holder-1"] == ["Eva"]


@pytest.mark.parametrize("token", ["", "short", "x" * 23, "x" * 21 + "\x00", "ñ" * 22])
def test_a_form_without_its_token_asks_to_begin_again(token):
    wanted, form = read(checkout_token=token)
    assert wanted is None
    assert form.problem
    assert not form.errors


def test_a_price_that_was_not_shown_is_no_price():
    for shown in ("", "x", "-2500", "2500.0"):
        wanted, _ = read(shown_price_id_1=shown)
        assert wanted
        assert wanted.shown_prices == {1: -1}


def test_case_and_width_make_no_other_address():
    assert email_key("Ana@Example.COM") == email_key("ana@example.com")
    assert email_key("ＡＮＡ@example.com") == email_key("ana@example.com")


def test_a_domain_is_another_one_only_if_the_net_says_so():
    assert email_key("ana@MÜNCHEN.example") == email_key("ana@xn--mnchen-3ya.example")
    assert email_key("ana@straße.example") != email_key("ana@strasse.example")


def test_an_address_that_mail_cannot_be_sent_to_is_refused():
    wanted, form = read(email="josé@example.com")
    assert wanted is None
    assert "email" in form.errors
