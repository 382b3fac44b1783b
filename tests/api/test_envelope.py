"""What all responses of the three JSON endpoints have in common."""

from __future__ import annotations

import json

import pytest
import requests

from tests.stripe_proxy import StripeProxy
from tmt.api.views import PATHS

NOT_JSON = "El cuerpo de la petición no es JSON válido"
ERROR_KEYS = {"message", "status", "error", "data"}


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


def refused(answer, status, text=None):
    """Checks the envelope of a failure and that any origin may read it."""
    body = answer.json()
    assert answer.status_code == status, body
    assert body.keys() == ERROR_KEYS
    assert (body["message"], body["status"]) == ("Error", status)
    assert body["data"] == {"success": False}
    assert isinstance(body["error"], str)
    assert body["error"]
    if text is not None:
        assert body["error"] == text
    readable_from_anywhere(answer)


def readable_from_anywhere(answer):
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Type"] == "application/json"


def test_success_has_the_envelope(shopfront):
    answer = shopfront.api("create_payment_intent", {"amount": 75})
    body = answer.json()
    assert answer.status_code == 200
    assert body.keys() == {"message", "status", "data"}
    assert (body["message"], body["status"]) == ("Procesado", 200)
    assert body["data"].keys() == {"success", "client_secret", "payment_intent_id"}
    assert body["data"]["success"] is True
    readable_from_anywhere(answer)


def test_a_body_that_is_no_json_object_is_refused(shopfront):
    bodies = (b"", b"{", b"[]", b'"x"', b"7", b"null", b"amount=5", b"\xff\xfe\xfd", b"{'a': 1}")
    bodies += (b'{"data": {"description": "\\ud800"}}', b"[" * 30_000)
    for path in PATHS:
        for body in bodies:
            refused(requests.post(shopfront.url + path, data=body, timeout=20), 400, NOT_JSON)


@pytest.mark.parametrize("data", [None, [], "x", 5, True])
def test_data_that_is_no_object_counts_as_empty(shopfront, data):
    missing = "ID de Payment Intent es requerido"
    refused(shopfront.api("get_payment_intent", data), 400, missing)
    refused(shopfront.api("confirm_payment", data), 400, missing)
    amount = "El monto es requerido y debe ser mayor a 0"
    refused(shopfront.api("create_payment_intent", data), 400, amount)


def test_other_methods_are_405_in_the_envelope(shopfront):
    for path in PATHS:
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            answer = requests.request(method, shopfront.url + path, timeout=20)
            refused(answer, 405)
            assert "POST" in answer.headers["Allow"]
        head = requests.head(shopfront.url + path, timeout=20)
        assert (head.status_code, head.headers["Access-Control-Allow-Origin"]) == (405, "*")


def test_a_body_of_64_kib_is_accepted_and_one_byte_more_is_413(shopfront):
    frame = len(json.dumps({"data": {"amount": 5, "x": ""}}))
    for path in PATHS:
        for more, expected in ((0, None), (1, 413)):
            body = json.dumps({"data": {"amount": 5, "x": "y" * (65536 - frame + more)}})
            answer = requests.post(shopfront.url + path, data=body, timeout=20)
            if expected:
                refused(answer, 413)
            else:
                assert answer.status_code in (200, 400)
                assert answer.json().get("error") != NOT_JSON


def test_preflight_requests_are_answered(shopfront):
    headers = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, idempotency-key",
    }
    for path in PATHS:
        answer = requests.options(shopfront.url + path, headers=headers, timeout=20)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert set(allowed) == {"content-type", "idempotency-key"}
        assert "Set-Cookie" not in answer.headers


def test_other_headers_are_not_allowed_by_the_preflight(shopfront):
    headers = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = requests.options(shopfront.url + PATHS[0], headers=headers, timeout=20)
    assert "authorization" not in answer.headers.get("Access-Control-Allow-Headers", "").lower()


def test_nothing_else_of_the_site_is_open_to_other_origins(shopfront):
    others = ["/", f"/events/{shopfront.event.slug}", "/healthz", "/readyz", "/nowhere"]
    others += ["/stripe_webhook", "/static/nowhere.js", PATHS[0] + "_more", "/x" + PATHS[0]]
    for path in others:
        for method in ("GET", "POST", "OPTIONS"):
            headers = {"Origin": "https://elsewhere.example"}
            answer = requests.request(method, shopfront.url + path, headers=headers, timeout=20)
            assert not [name for name in answer.headers if name.startswith("Access-Control")], path


@pytest.mark.parametrize("settings", [{"api_origins": ("https://a.example", "https://b.example")}])
def test_the_allowed_origins_are_a_setting(shopfront):
    def allowed_origin(origin):
        answer = shopfront.api("get_payment_intent", {}, Origin=origin)
        allowed = answer.headers.get("Access-Control-Allow-Origin")
        # A shared cache must not serve one origin's response to the other.
        assert "Origin" in answer.headers["Vary"] or allowed is None
        return allowed

    assert allowed_origin("https://a.example") == "https://a.example"
    assert allowed_origin("https://b.example") == "https://b.example"
    assert allowed_origin("https://c.example") is None


@pytest.mark.parametrize("settings", [{"api_per_address": "3 per minute"}])
def test_too_many_calls_are_429_with_the_time_to_wait(shopfront):
    for _ in range(3):
        assert shopfront.api("get_payment_intent", {}).status_code == 400
    for number, path in enumerate(PATHS):
        forged = {"X-Forwarded-For": f"10.0.0.{number}"}
        answer = requests.post(shopfront.url + path, json={}, headers=forged, timeout=20)
        refused(answer, 429)
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
    assert requests.options(shopfront.url + PATHS[0], timeout=20).status_code == 200
    for _ in range(10):
        assert shopfront.deliver("{}").status_code == 400


@pytest.mark.parametrize("settings", [{"stripe_retries": 0}])
@pytest.mark.parametrize("fate", ["lost", "unanswered"])
def test_when_stripe_is_unreachable_the_error_says_so(shopfront, fate):
    StripeProxy(shopfront).fate = lambda call: fate
    text = "No se pudo contactar con Stripe"
    refused(shopfront.api("create_payment_intent", {"amount": 5}), 500, text)
    refused(shopfront.api("confirm_payment", {"payment_intent_id": "pi_1"}), 500, text)
    refused(shopfront.api("get_payment_intent", {"payment_intent_id": "pi_1"}), 500, text)


@pytest.mark.parametrize("settings", [{"stripe_retries": 0}])
def test_stripes_own_message_is_passed_on(shopfront):
    StripeProxy(shopfront).fate = lambda call: "refused"
    refused(shopfront.api("create_payment_intent", {"amount": 5}), 500, "An error occurred.")


@pytest.mark.parametrize("settings", [{"stripe_retries": 0}])
def test_the_page_of_a_proxy_is_not_passed_on(shopfront):
    def proxy(environ, start_response):
        start_response("502 Bad Gateway", [("Content-Type", "text/html")])
        return [b"<h1>internal host 10.1.2.3</h1>"]

    shopfront.sandbox.wsgi.wsgi_app = proxy
    answer = shopfront.api("get_payment_intent", {"payment_intent_id": "pi_1"})
    refused(answer, 500, "No se pudo contactar con Stripe")


def test_unknown_ids_are_stripes_error(shopfront):
    for endpoint in ("get_payment_intent", "confirm_payment"):
        answer = shopfront.api(endpoint, {"payment_intent_id": "pi_unknown"})
        refused(answer, 500, "No such payment_intent: 'pi_unknown'")


@pytest.mark.parametrize("value", [None, "", "  ", 7, True, [], {}, ["pi_1"]])
def test_an_id_is_required(shopfront, value):
    for endpoint in ("get_payment_intent", "confirm_payment"):
        answer = shopfront.api(endpoint, {"payment_intent_id": value})
        refused(answer, 400, "ID de Payment Intent es requerido")
