"""The three JSON endpoints, told anything at all: an answer in the envelope, and nothing moved."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.line import RawLine, intents, state, unchanged
from tests.fuzz.things import HEADERS, IDS, TEXTS, bodies, nearly, written

CREATE, CONFIRM, GET = (
    f"/stripe_{name}" for name in ("create_payment_intent", "confirm_payment", "get_payment_intent")
)
_JSON = {"Content-Type": "application/json"}
_EXPONENTS = {"usd": 2, "EUR": 2, "jpy": 0, "kwd": 3}
_AMOUNTS = st.decimals("0.5", "5000", allow_nan=False, places=2)


@pytest.fixture
def line(shopfront):
    return RawLine(shopfront)


@pytest.fixture
def intent(shopfront):
    """The PaymentIntent of an order that waits for its payment."""
    buyer = shopfront.buyer()
    return buyer.open_pay_page(buyer.reserve(1))


def in_envelope(answer):
    told = answer.json()
    assert told["status"] == answer.status
    assert told["data"]["success"] is (answer.status == 200)
    assert (told["message"], "error" in told) == (
        ("Procesado", False) if answer.status == 200 else ("Error", True)
    )


def test_creating_from_anything_makes_one_intent_or_none(shopfront, line):
    wanted = nearly(
        {
            "amount": _AMOUNTS.map(str) | st.integers(1, 9000),
            "currency": st.sampled_from([*_EXPONENTS, "clp", None]),
            "description": TEXTS,
            "metadata": st.dictionaries(st.text(min_size=1, max_size=9), TEXTS, max_size=3),
        }
    )
    headers = st.fixed_dictionaries({}, optional={"Idempotency-Key": HEADERS, "Origin": HEADERS})

    @given(bodies(nearly({"data": wanted})), headers)
    def say(body, headers):
        before = state(shopfront)
        answer = line.say("POST", CREATE, body, _JSON | headers)
        in_envelope(answer)
        made = state(shopfront)["intents"] - before["intents"]
        # A key that came before stands for the PaymentIntent that it made then.
        least = 0 if "Idempotency-Key" in headers else 1
        assert least <= made <= 1 if answer.status == 200 else made == 0
        assert state(shopfront) == before | {"intents": before["intents"] + made}
        if answer.status == 200:
            assert intents(shopfront)[answer.json()["data"]["payment_intent_id"]]["amount"] > 0

    say()
    assert min(line.seen[200], line.seen[400]) > 10


def test_a_right_request_makes_exactly_the_intent_that_it_says(shopfront, line):
    @given(_AMOUNTS, st.sampled_from(sorted(_EXPONENTS)), st.booleans())
    def say(amount, currency, as_text):
        body = written({"data": {"amount": "@", "currency": currency}})
        number = f'"{amount}"' if as_text else f"{amount}"
        known = set(intents(shopfront))
        answer = line.say("POST", CREATE, body.replace(b'"@"', number.encode()), _JSON)
        minor = amount.scaleb(_EXPONENTS[currency]).quantize(Decimal(1), "ROUND_HALF_UP")
        if answer.status == 500:
            assert set(intents(shopfront)) == known, "Stripe refused it as too small"
            return
        (made,) = set(intents(shopfront)) - known
        assert made == answer.json()["data"]["payment_intent_id"]
        found = intents(shopfront)[made]
        assert found["currency"] == currency.lower()
        assert abs(found["amount"] - minor) <= (5 if currency == "kwd" else 0)

    say()
    assert line.seen[200] > 10


@pytest.mark.parametrize("endpoint", [CONFIRM, GET])
def test_asking_about_anything_moves_nothing(shopfront, line, intent, endpoint):
    names = TEXTS | IDS | st.just(intent) | st.just(f" {intent}\n") | st.just(intent.upper())

    @given(bodies(nearly({"data": nearly({"payment_intent_id": names})})))
    def say(body):
        with unchanged(shopfront):
            in_envelope(line.say("POST", endpoint, body, _JSON))

    line.stripe.calls.clear()
    say()
    assert min(line.seen[500], line.seen[200] + line.seen[400]) > 5
    assert {call.split()[0] for call in line.stripe.calls} == {"GET"}
    # Another system's refunds or customers are none of a caller's business.
    assert all(
        call.startswith(("GET /v1/payment_intents/", "GET /v1/charges"))
        for call in line.stripe.calls
    )


def test_any_method_and_any_headers(shopfront, line):
    methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "BREW"])
    names = st.sampled_from(
        """Content-Type Accept Accept-Language Origin Cookie Idempotency-Key X-Forwarded-For
        X-Request-Id Content-Encoding Authorization Range""".split()
    )

    @given(st.sampled_from([CREATE, CONFIRM, GET]), methods, st.dictionaries(names, HEADERS))
    def say(endpoint, method, headers):
        with unchanged(shopfront):
            answer = line.say(method, endpoint, b'{"data": {}}', headers)
        if method not in ("OPTIONS", "HEAD"):
            in_envelope(answer)

    say()
