"""The three JSON endpoints, given anything: an answer in the envelope, and nothing changed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.raw_client import RawClient, intents, state, unchanged
from tests.fuzz.strategies import HEADERS, IDS, TEXTS, bodies, nearly, written

pytestmark = pytest.mark.databases("postgresql")

CREATE, CONFIRM, GET = (
    f"/stripe_{name}" for name in ("create_payment_intent", "confirm_payment", "get_payment_intent")
)
_JSON = {"Content-Type": "application/json"}
_EXPONENTS = {"usd": 2, "EUR": 2, "jpy": 0, "kwd": 3}
_AMOUNTS = st.decimals("0.5", "5000", allow_nan=False, places=2)


@pytest.fixture
def client(shopfront):
    return RawClient(shopfront)


@pytest.fixture
def intent(shopfront):
    """The PaymentIntent of an order that waits for its payment."""
    buyer = shopfront.buyer()
    return buyer.open_pay_page(buyer.reserve(1))


def in_envelope(answer):
    envelope = answer.json()
    assert envelope["status"] == answer.status
    assert envelope["data"]["success"] is (answer.status == 200)
    assert (envelope["message"], "error" in envelope) == (
        ("Procesado", False) if answer.status == 200 else ("Error", True)
    )


def test_creating_from_anything_makes_one_intent_or_none(shopfront, client):
    requests = nearly(
        {
            "amount": _AMOUNTS.map(str) | st.integers(1, 9000),
            "currency": st.sampled_from([*_EXPONENTS, "clp", None]),
            "description": TEXTS,
            "metadata": st.dictionaries(st.text(min_size=1, max_size=9), TEXTS, max_size=3),
        }
    )
    headers = st.fixed_dictionaries({}, optional={"Idempotency-Key": HEADERS, "Origin": HEADERS})

    @given(bodies(nearly({"data": requests})), headers)
    def send(body, headers):
        before = state(shopfront)
        answer = client.send("POST", CREATE, body, _JSON | headers)
        in_envelope(answer)
        created = state(shopfront)["intents"] - before["intents"]
        # A key that came before stands for the PaymentIntent that it created then.
        least = 0 if "Idempotency-Key" in headers else 1
        assert least <= created <= 1 if answer.status == 200 else created == 0
        grown = ("intents", "api_payment_intents")
        assert state(shopfront) == before | {name: before[name] + created for name in grown}
        if answer.status == 200:
            assert intents(shopfront)[answer.json()["data"]["payment_intent_id"]]["amount"] > 0

    send()
    assert min(client.statuses[200], client.statuses[400]) > 10


def test_a_right_request_makes_exactly_the_intent_that_it_says(shopfront, client):
    @given(_AMOUNTS, st.sampled_from(sorted(_EXPONENTS)), st.booleans())
    def send(amount, currency, as_text):
        body = written({"data": {"amount": "@", "currency": currency}})
        number = f'"{amount}"' if as_text else f"{amount}"
        before_ids = set(intents(shopfront))
        answer = client.send("POST", CREATE, body.replace(b'"@"', number.encode()), _JSON)
        minor = amount.scaleb(_EXPONENTS[currency]).quantize(Decimal(1), "ROUND_HALF_UP")
        if answer.status == 500:
            assert set(intents(shopfront)) == before_ids, "Stripe refused it as too small"
            return
        (created,) = set(intents(shopfront)) - before_ids
        assert created == answer.json()["data"]["payment_intent_id"]
        intent_ = intents(shopfront)[created]
        assert intent_["currency"] == currency.lower()
        assert abs(intent_["amount"] - minor) <= (5 if currency == "kwd" else 0)

    send()
    assert client.statuses[200] > 10


@pytest.mark.parametrize("endpoint", [CONFIRM, GET])
def test_asking_about_anything_moves_nothing(shopfront, client, intent, endpoint):
    names = TEXTS | IDS | st.just(intent) | st.just(f" {intent}\n") | st.just(intent.upper())

    @given(bodies(nearly({"data": nearly({"payment_intent_id": names})})))
    def send(body):
        with unchanged(shopfront):
            in_envelope(client.send("POST", endpoint, body, _JSON))

    client.stripe.calls.clear()
    send()
    assert min(client.statuses[200] + client.statuses[500], client.statuses[400]) > 2
    assert {call.split()[0] for call in client.stripe.calls} == {"GET"}
    # Another system's refunds or customers are none of a caller's business.
    assert all(
        call.startswith(("GET /v1/payment_intents/", "GET /v1/charges"))
        for call in client.stripe.calls
    )


def test_any_method_and_any_headers(shopfront, client):
    methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "BREW"])
    names = st.sampled_from(
        """Content-Type Accept Accept-Language Origin Cookie Idempotency-Key X-Forwarded-For
        X-Request-Id Content-Encoding Authorization Range""".split()
    )

    @given(st.sampled_from([CREATE, CONFIRM, GET]), methods, st.dictionaries(names, HEADERS))
    def send(endpoint, method, headers):
        with unchanged(shopfront):
            answer = client.send(method, endpoint, b'{"data": {}}', headers)
        if method not in ("OPTIONS", "HEAD"):
            in_envelope(answer)

    send()
