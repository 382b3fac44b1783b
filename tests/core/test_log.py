"""Logs contain no secret, no card number, no address and no name (I6)."""

from __future__ import annotations

import io
import json
import logging
from contextlib import redirect_stderr

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.shopfront import PUBLISHABLE_KEY, SECRET_KEY, SIGNING_SECRET
from tmt.core import log

pytestmark = pytest.mark.databases("sqlite")

SECRETS = (
    "sk_live_51HxYz",
    "rk_test_51HxYz",
    "whsec_abcDEF123",
    "pi_3Abc_secret_Xyz9",
    "seti_1Abc_secret_Xyz9",
    "rk_live_" + "a" * 300,
    "pi_3Abc_secret_" + "a" * 300,
    "ana@example.com",
    "ana.o'brien+tickets@mail.example.co.uk",
    "ana%40example.com",
    "josé@correo.example",
    "4242424242424242",
    "4000 0027 6000 3184",
    "3782-822463-10005",
)
HARMLESS = (
    "pi_3AbcDEF",
    "evt_1Abc",
    "ch_3Abc",
    "order TMT-7Q2K",
    "2026-11-21T01:59:04.131678Z",
    "1795226344",
    "12.5 ms",
    "payment_intents.create",
)


class Lines:
    """Logging as the shop configures it, at DEBUG; a call returns the lines so far."""

    def __init__(self):
        self._output = io.StringIO()

    def listen(self):
        with redirect_stderr(self._output):
            log.configure("json", "DEBUG")

    def __call__(self):
        return [line for line in self._output.getvalue().splitlines() if line]


@pytest.fixture
def lines():
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    listening = Lines()
    listening.listen()
    yield listening
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    log.clear()


@pytest.mark.case("SEC-05")
@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_removed_wherever_they_stand(lines, secret):
    class Thing:
        def __repr__(self):
            return f"Thing({secret})"

    logger = structlog.get_logger()
    log.bind(bound=secret)
    logger.info(f"event {secret}")
    logger.info("test", text=f"before {secret} after", many=[secret, {"deep": (secret,)}])
    logger.info(
        "event", raw=secret.encode(), error=ValueError(secret), thing=Thing(), some={secret}
    )
    logger.info("test", nested={"text": Thing(), "list": [Thing()]})
    try:
        raise RuntimeError(f"broken by {secret}")
    except RuntimeError:
        logger.exception("failed")
        logging.getLogger("a.library").exception("failed with %s", secret)
    logging.getLogger("a.library").error("said %s", {"x": secret})
    output = lines()
    assert len(output) >= 7
    assert secret not in json.dumps(output, ensure_ascii=False)
    assert all(part in output[0] for part in ("event [", "bound"))


@pytest.mark.parametrize("text", HARMLESS)
def test_ids_and_numbers_stay_readable(lines, text):
    structlog.get_logger().info("test", text=text)
    assert json.loads(lines()[0])["text"] == text


def test_private_keys_are_never_written(lines):
    private = ("email", "name", "holder", "client_secret", "password", "token", "cookie", "address")
    for key in private:
        structlog.get_logger().info("test", **{key: "Marker"}, deep={key: "Marker", "ok": 1})
        structlog.get_logger().info("test", deeper=[{"x": {key: ["Marker"]}}])
    output = lines()
    assert len(output) == 2 * len(private)
    assert "Marker" not in "".join(output)
    assert json.loads(output[0])["deep"]["ok"] == 1


def test_the_token_in_an_orders_address_is_removed(lines):
    structlog.get_logger().info("test", path="/orders/AAAAAAAAAAAAAAAAAAAAAA/tickets.pdf")
    assert json.loads(lines()[0])["path"] == "/orders/[order]/tickets.pdf"
    token = "A" * 22
    for path in (
        f"/orders/{token}/confirm/{token}",
        f"next=%2Forders%2F{token}%2Fconfirm%2F{token}",
        f"/sign-in/{token} next=%2Fsign-in%2F{token}",
        f"/account/email/{token} next=%2faccount%2femail%2f{token}",
    ):
        assert "AAA" not in log.redact_text(path)
    urls = log.redact_text(
        "postgresql://tmt:s3cr!t@localhost/tmt redis://:s3cr!t@db/0 password=s3cr!t"
    )
    assert "s3cr!t" not in urls
    assert "localhost/tmt" in urls


def test_numbers_and_booleans_keep_their_type(lines):
    structlog.get_logger().info("test", whole=7, part=1.5, yes=True, nothing=None)
    line = json.loads(lines()[0])
    assert [line[name] for name in ("whole", "part", "yes", "nothing")] == [7, 1.5, True, None]


@given(
    st.text(max_size=30),
    st.sampled_from(SECRETS),
    st.text(st.characters(codec="utf-8"), max_size=30),
)
def test_secrets_are_found_within_any_text(before, secret, after):
    assert secret not in log.redact_text(f"{before} {secret} {after}")


@pytest.mark.case("SEC-05")
@pytest.mark.parametrize("settings", [{"log_level": "DEBUG", "stripe_retries": 0}])
def test_i6_a_whole_sale_leaves_nobodys_name_in_the_logs(lines, shopfront):
    lines.listen()
    buyer = shopfront.buyer(name="Marker Persona", email="marker@example.com")
    order = buyer.reserve(1)
    pi = buyer.open_pay_page(order)
    intent = shopfront.stripe.v1.payment_intents.retrieve(pi)
    shopfront.confirm(pi)
    shopfront.api("confirm_payment", {"payment_intent_id": pi})
    buyer.get(f"/orders/{order.token}?email=marker@example.com")
    shopfront.deliver('{"email": "marker@example.com"}', "t=1,v1=marker")
    shopfront.run_jobs()
    output = "\n".join(lines())
    assert output.count("\n") > 10
    assert order.code in output
    assert pi in output
    private = ("marker", order.token, intent.client_secret, SECRET_KEY, SIGNING_SECRET)
    assert not [text for text in (*private, PUBLISHABLE_KEY) if text.lower() in output.lower()]


def test_the_values_in_an_error_of_postgresql_are_removed(lines):
    token = "abcdefghijklmnopqrstuv"
    structlog.get_logger().error("x", error=f"unique\nDETAIL:  Key (token)=({token}) exists.\nHINT")
    (line,) = lines()
    assert token not in line
    assert "HINT" in line
