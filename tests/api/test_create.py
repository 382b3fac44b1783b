"""stripe_create_payment_intent: exact amounts, and what is sent to Stripe with them."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.api.test_envelope import refused
from tmt.api.schemas import BadRequest, read_create, read_data
from tmt.core.money import CURRENCIES

pytestmark = pytest.mark.databases("sqlite")

BAD_AMOUNT = "El monto es requerido y debe ser mayor a 0"
BAD_CURRENCY = "La moneda no es válida"
BAD_METADATA = "Los metadatos no son válidos"

# Amount and currency as written in the JSON, and Stripe's minor units.
AMOUNTS = [
    ("75.00", "usd", 7500),
    ("75", "usd", 7500),
    ("10.005", "usd", 1001),
    ("10.0049999999999999999999999999999999999999", "usd", 1000),
    ("1.005", "usd", 101),
    ("2.675", "usd", 268),
    ("1.115", "eur", 112),
    ("0.285e1", "usd", 285),
    ("1e2", "usd", 10000),
    ("1E+2", "usd", 10000),
    ("12345e-2", "usd", 12345),
    ('"75.00"', "usd", 7500),
    ('" 75.5 "', "usd", 7550),
    ('"+75"', "usd", 7500),
    ('".5"', "usd", 50),
    ('"75."', "usd", 7500),
    ('"1e2"', "usd", 10000),
    ('"10.005"', "usd", 1001),
    ("999999.99", "usd", 99999999),
    ("80", "jpy", 80),
    ("80.5", "jpy", 81),
    ("80.49", "JPY", 80),
    ("5000", "krw", 5000),
    ("5", "kwd", 5000),
    ("1.2345", "KWD", 1235),
    ("1.23", "bhd", 1230),
    ("10", "isk", 1000),
    ("10.5", "isk", 1100),
    ("10.49", "isk", 1000),
    ("500", "ugx", 50000),
    ("75", "EuR", 7500),
]


def post(front, amount, more=""):
    """Posts the amount exactly as written, as a program in another language may write it."""
    body = f'{{"data": {{"amount": {amount}{more}}}}}'
    path = f"{front.url}/stripe_create_payment_intent"
    return requests.post(path, data=body.encode(), timeout=20)


def created(front, **data):
    answer = front.api("create_payment_intent", {"amount": 75, **data})
    assert answer.status_code == 200, answer.text
    return front.stripe.v1.payment_intents.retrieve(answer.json()["data"]["payment_intent_id"])


@pytest.mark.case("MON-01")
def test_mon01_amounts_reach_stripe_as_they_were_written(shopfront):
    for amount, currency, minor in AMOUNTS:
        answer = post(shopfront, amount, f', "currency": "{currency}"')
        assert answer.status_code == 200, (amount, currency, answer.text)
        data = answer.json()["data"]
        intent = shopfront.stripe.v1.payment_intents.retrieve(data["payment_intent_id"])
        assert (intent.amount, intent.currency) == (minor, currency.lower()), amount
        assert intent.client_secret == data["client_secret"]
        assert intent.status == "requires_payment_method"


def test_invalid_amounts_are_refused(shopfront):
    bad = ["null", "true", "false", "NaN", "Infinity", "-Infinity", "0", "-1", "0.0", "-0", "[]"]
    bad += ["{}", "0.004", "0.00499999", "1e-9", "1e999", "1e99999999999999999999", "[75]"]
    bad += ["1e-99999999999999999999", "9" * 5000]
    bad += ['""', '"x"', '"75,00"', '"NaN"', '"inf"', '"0x10"', '"1_000"', '"٧٥"', '"1e9999"']
    bad += ['"-5"', '"0"', '"$5"', '"5 usd"', '"1e"', '"."', '"-"', '"true"', '"5\\u0000"']
    for amount in bad:
        refused(post(shopfront, amount), 400, BAD_AMOUNT)
    refused(shopfront.api("create_payment_intent", {"currency": "usd"}), 400, BAD_AMOUNT)
    refused(post(shopfront, "0.4", ', "currency": "jpy"'), 400, BAD_AMOUNT)
    refused(post(shopfront, "0.49", ', "currency": "isk"'), 400, BAD_AMOUNT)


def test_amounts_outside_stripes_limits_are_stripes_error(shopfront):
    refused(post(shopfront, "0.005"), 500, "Amount must be at least $0.50")
    refused(post(shopfront, "1000000"), 500, "Amount must be no more than $999,999.99")


def test_invalid_currencies_are_refused(shopfront):
    bad = ("", "us", "usdd", "u$d", "123", " usd", "xyz", "üsd", 5, True, [], {}, ["usd"])
    for currency in bad:
        answer = shopfront.api("create_payment_intent", {"amount": 75, "currency": currency})
        refused(answer, 400, BAD_CURRENCY)


def test_defaults(shopfront):
    intent = created(shopfront)
    assert (intent.currency, intent.description) == ("usd", "Compra de tickets")
    assert set(intent.metadata.to_dict()) == {"platform", "timestamp"}
    assert intent.automatic_payment_methods.enabled is True
    nulls = created(shopfront, currency=None, description=None, metadata=None)
    assert (nulls.currency, nulls.description) == ("usd", "Compra de tickets")
    assert created(shopfront, description="Dos entradas ñ").description == "Dos entradas ñ"


def test_metadata_is_sent_as_strings_and_cannot_replace_the_shops_own(shopfront):
    metadata = {"text": "ñ", "whole": 7, "part": 1.10, "yes": True, "no": False}
    before = datetime.now(UTC)
    intent = created(shopfront, metadata={**metadata, "platform": "evil", "timestamp": "1999"})
    stored = intent.metadata.to_dict()
    moment = datetime.fromisoformat(stored.pop("timestamp"))
    assert before - timedelta(seconds=1) <= moment <= datetime.now(UTC)
    assert moment.utcoffset() == timedelta()
    assert stored.pop("platform") == "TMT"
    assert stored == {"text": "ñ", "whole": "7", "part": "1.1", "yes": "true", "no": "false"}


def test_metadata_beyond_stripes_limits_is_refused(shopfront):
    bad = ["x", [], 5, True, {"a": None}, {"a": []}, {"a": {}}, {"a": {"b": "c"}}]
    bad += [{"k" * 41: "v"}, {"k": "v" * 501}, {"": "v"}, {"a[b]": "v"}]
    bad += [{f"key{n}": "v" for n in range(49)}]
    for metadata in bad:
        answer = shopfront.api("create_payment_intent", {"amount": 75, "metadata": metadata})
        refused(answer, 400, BAD_METADATA)
    refused(post(shopfront, "75", ', "metadata": {"a": NaN}'), 400, BAD_METADATA)


def test_metadata_at_stripes_limits_is_accepted(shopfront):
    full = {f"{n:0>40}": "ñ" * 500 for n in range(48)}
    answer = post(shopfront, "75", f', "metadata": {json.dumps(full, ensure_ascii=False)}')
    assert answer.status_code == 200, answer.text
    pi = answer.json()["data"]["payment_intent_id"]
    stored = shopfront.stripe.v1.payment_intents.retrieve(pi).metadata.to_dict()
    assert len(stored) == 50
    assert {name: stored[name] for name in full} == full
    replaced = {f"key{n}": "v" for n in range(48)} | {"platform": "x", "timestamp": "y"}
    assert len(created(shopfront, metadata=replaced).metadata.to_dict()) == 50


@pytest.mark.databases("sqlite", "postgresql")
def test_one_key_creates_one_payment_intent_also_later(shopfront):
    def make():
        data = {"amount": 75, "metadata": {"cart": "7"}}
        answer = shopfront.api("create_payment_intent", data, **{"Idempotency-Key": "cart-7"})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    first = make()
    shopfront.clock.move(minutes=20)
    assert make() == first
    other = shopfront.api("create_payment_intent", {"amount": 75}, **{"Idempotency-Key": "cart-8"})
    assert other.json()["data"]["payment_intent_id"] != first["payment_intent_id"]
    without = {created(shopfront).id, created(shopfront).id}
    assert len(without | {first["payment_intent_id"]}) == 3


@pytest.mark.databases("sqlite", "postgresql")
def test_one_key_at_the_same_instant_creates_one_payment_intent(shopfront):
    answers = []
    start = threading.Barrier(6)

    def make():
        start.wait()
        key = {"Idempotency-Key": "clicked-six-times"}
        answers.append(shopfront.api("create_payment_intent", {"amount": 75}, **key))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 6, [a.text for a in answers]
    assert len({answer.json()["data"]["payment_intent_id"] for answer in answers}) == 1


def test_one_key_for_two_different_requests_is_stripes_error(shopfront):
    key = {"Idempotency-Key": "k1"}
    assert shopfront.api("create_payment_intent", {"amount": 75}, **key).status_code == 200
    answer = shopfront.api("create_payment_intent", {"amount": 76}, **key)
    refused(answer, 500)
    assert "idempotent" in answer.json()["error"].lower()


@pytest.mark.parametrize("key", ["k" * 64, "k" * 300, "k" * 5000, "llave-ñ", "a b", "'\"<>"])
def test_keys_of_any_length_and_letter_work(shopfront, key):
    header = {"Idempotency-Key": key.encode()}
    answers = [shopfront.api("create_payment_intent", {"amount": 75}, **header) for _ in range(2)]
    ids = {answer.json()["data"]["payment_intent_id"] for answer in answers}
    assert len(ids) == 1
    longer = {"Idempotency-Key": key.encode() + b"x"}
    other = shopfront.api("create_payment_intent", {"amount": 75}, **longer)
    assert other.json()["data"]["payment_intent_id"] not in ids


def test_a_callers_key_is_never_the_shops(shopfront):
    buyer = shopfront.buyer()
    order = buyer.reserve(1)
    key = {"Idempotency-Key": shopfront.payment(order).idempotency_key}
    before = shopfront.api("create_payment_intent", {"amount": 1}, **key).json()["data"]
    order_intent = buyer.open_pay_page(order)
    after = shopfront.api("create_payment_intent", {"amount": 1}, **key).json()["data"]
    assert before["payment_intent_id"] == after["payment_intent_id"] != order_intent
    intent = shopfront.stripe.v1.payment_intents.retrieve(order_intent)
    assert intent.amount == order.total


@given(
    st.decimals(min_value=0, max_value=10**7, allow_nan=False, allow_infinity=False, places=9),
    st.sampled_from(sorted(CURRENCIES)),
    st.booleans(),
)
def test_every_decimal_is_rounded_half_up_as_written(amount, currency, quoted):
    text = f'"{amount:f}"' if quoted else f"{amount:f}"
    data = read_data(f'{{"data": {{"amount": {text}, "currency": "{currency}"}}}}'.encode())
    expected = half_up(Fraction(amount), currency)
    if expected == 0:
        with pytest.raises(BadRequest, match="El monto"):
            read_create(data)
    else:
        assert read_create(data).amount == expected


def half_up(amount, currency):
    """The rule of the contract once more, in fractions."""
    zero = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()
    if currency in ("isk", "ugx"):
        return int(amount + Fraction(1, 2)) * 100
    factor = 1 if currency in zero else 1000 if currency in "bhd jod kwd omr tnd".split() else 100
    return int(amount * factor + Fraction(1, 2))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_body_breaks_the_reader(body):
    with suppress(BadRequest):
        assert read_create(read_data(body)).amount > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("amount", "currency", "description", "metadata"), JSON)
    )
)
def test_no_json_breaks_the_reader(data):
    with suppress(BadRequest):
        payment = read_create(read_data(json.dumps({"data": data}).encode()))
        assert payment.amount > 0
        assert all(isinstance(value, str) for value in payment.metadata.values())
