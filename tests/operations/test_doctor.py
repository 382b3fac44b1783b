"""`flask doctor`: what does not work is red, what could be better is yellow, with what to do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest

from tests.core.test_mail import Postbox, mail_server
from tests.gateway.stripe_events import run_sql
from tests.servers import free_port
from tests.shopfront import Shopfront
from tests.stripe_proxy import wait_for_event
from tmt.billing.webhook_handlers import HANDLERS
from tmt.core import outbox
from tmt.gateway.types import API_VERSION
from tmt.operations import shop_checks
from tmt.operations.doctor import green

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LINE = re.compile(r"^(green|yellow|red) +(\S+(?: key)?)  +(.*)$")
ADDRESS = "https://tickets.example.org"
ACCOUNT = {"object": "account", "id": "acct_1", "charges_enabled": True, "details_submitted": True}


@dataclass
class Report:
    """What the doctor printed."""

    code: int
    text: str

    def __post_init__(self) -> None:
        lines = [m.groups() for line in self.text.splitlines() if (m := LINE.match(line))]
        self.levels = {name: level for level, name, _text in lines}
        self.texts = {name: text for _level, name, text in lines}


def doctor(front: Shopfront) -> Report:
    """Runs it; the exit code must be that of the worst line."""
    result = front.app.test_cli_runner().invoke(args=["doctor"])
    report = Report(result.exit_code, result.output)
    assert report.levels, result.output
    worst = {"green": 0, "yellow": 1, "red": 2}
    assert report.code == max(worst[level] for level in report.levels.values())
    assert "Traceback" not in report.text
    return report


class FixedAnswers:
    """Answers at some of Stripe's paths as a test sets, instead of as the sandbox would."""

    def __init__(self, front: Shopfront) -> None:
        self.by_path: dict[str, tuple[int, Any]] = {}
        self._stripe = front.sandbox.wsgi.wsgi_app
        front.sandbox.wsgi.wsgi_app = self._answer

    def list(self, path: str, *items: dict[str, Any]) -> None:
        self.by_path[path] = 200, {"object": "list", "data": items, "has_more": False, "url": path}

    def deny(self, path: str, status: int) -> None:
        error = {"type": "invalid_request_error", "message": "This key may not do this."}
        self.by_path[path] = status, {"error": error}

    def methods(self, *on: str) -> None:
        """Has the account's payment methods be these, and no other."""
        shown = {"available": True, "display_preference": {"preference": "on", "value": "on"}}
        hidden = {"available": False, "display_preference": {"preference": "off", "value": "off"}}
        names = {"card": hidden, "sepa_debit": hidden, "ideal": hidden}
        default = {"object": "payment_method_configuration", "id": "pmc_1", "active": True}
        switched = names | dict.fromkeys(on, shown)
        plain = {"is_default": True, "application": None}
        self.list("/v1/payment_method_configurations", default | plain | switched)

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in self.by_path:
            return self._stripe(environ, start_response)
        status, body = self.by_path[environ["PATH_INFO"]]
        start_response(f"{status} Fixed", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


@pytest.fixture
def answers(shopfront: Shopfront) -> FixedAnswers:
    return FixedAnswers(shopfront)


class TestCompleteSettings:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {
            "base_url": ADDRESS,
            "secret_key": "3f1c9a7e5b2d4860" * 3,
            "organiser_email": "organiser@example.org",
            "trusted_proxies": 1,
        }

    def test_a_complete_shop_is_green(
        self, shopfront: Shopfront, answers: FixedAnswers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shop_checks, "check_public_address", lambda _: green("as sent"))
        answers.by_path["/v1/account"] = 200, ACCOUNT
        answers.methods("card")
        shopfront.run_jobs()
        unregistered = doctor(shopfront)
        yellow = {n for n, level in unregistered.levels.items() if level != "green"}
        assert yellow == {"webhook", "domains"}
        assert unregistered.texts["webhook"].endswith(f"{ADDRESS}/stripe_webhook")
        for command in ("register-webhook", "register-domain"):
            result = shopfront.app.test_cli_runner().invoke(args=["stripe", command])
            assert result.exit_code == 0
        report = doctor(shopfront)
        assert report.code == 0, report.text
        assert "Replace the test keys with live keys" in report.text
        assert "above" not in report.text


def test_settings_that_could_be_better_are_yellow(shopfront: Shopfront) -> None:
    report = doctor(shopfront)
    for name in ("secret key", "address", "organiser"):
        assert report.levels[name] == "yellow", name
    assert "Set TMT_ORGANISER_EMAIL" in report.text
    assert "only for tests" not in report.text


def test_without_stripe_it_says_so_and_checks_no_more(shopfront: Shopfront) -> None:
    shopfront.servers[1].stop()
    report = doctor(shopfront)
    assert report.levels["keys"] == "red"
    assert report.texts["keys"] == f"no answer from {shopfront.stripe_url}"
    assert "webhook" not in report.levels


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({}, "green"),
        ({"stripe_secret_key": "sk_live_x"}, "yellow"),
        ({"stripe_secret_key": "sk_live_x", "api_token": "t"}, "green"),
        ({"stripe_secret_key": "sk_live_x", "api": "off"}, "green"),
    ],
)
def test_json_endpoints_that_are_open_to_all_are_yellow_where_money_is_real(
    shopfront: Shopfront, changed: dict[str, str], level: str
) -> None:
    settings = shopfront.shop.settings.model_copy(update=changed)
    assert shop_checks._json_endpoints(settings).level.name.lower() == level


def test_a_database_with_another_schema_is_red(shopfront: Shopfront) -> None:
    assert doctor(shopfront).levels["database"] == "green"
    run_sql(shopfront, "UPDATE alembic_version SET version_num = '0000'")
    report = doctor(shopfront)
    assert report.levels["database"] == "red"
    assert "Run flask db upgrade." in report.text
    assert "jobs" not in report.levels
    assert report.levels["keys"] == "green"


def test_jobs_that_do_not_run_are_red(shopfront: Shopfront) -> None:
    assert doctor(shopfront).texts["jobs"] == "never ran"
    shopfront.run_jobs()
    assert doctor(shopfront).levels["jobs"] == "green"
    shopfront.clock.move(minutes=4)
    assert doctor(shopfront).levels["jobs"] == "red"


def test_a_failing_row_is_yellow_and_a_parked_one_is_red(shopfront: Shopfront) -> None:
    now = shopfront.clock.now()
    shopfront.shop.db.transaction(lambda s: outbox.put(s, "unheard_of", "key", {}, now))
    shopfront.run_jobs()
    assert doctor(shopfront).levels["outbox"] == "yellow"
    run_sql(shopfront, "UPDATE outbox SET parked_at = due_at")
    report = doctor(shopfront)
    assert report.levels["outbox"] == "red"
    assert "flask outbox list --open" in report.text
    assert report.levels["inbox"] == "green"


def pay_three(front: Shopfront) -> list[str]:
    """Three orders that the return page makes paid; their PaymentIntents."""
    paid = []
    for _number in range(3):
        buyer = front.buyer()
        order = buyer.reserve(1)
        paid.append(buyer.open_pay_page(order))
        front.confirm(paid[-1])
        buyer.get(f"/orders/{order.token}/return")
    return paid


@pytest.mark.case("WH-03")
def test_wh03_events_that_do_not_arrive_while_payments_succeed_are_red(
    shopfront: Shopfront,
) -> None:
    shopfront.silence_stripe()
    pay_three(shopfront)
    assert doctor(shopfront).levels["deliveries"] == "green"
    shopfront.clock.move(minutes=11)
    report = doctor(shopfront)
    assert report.levels["deliveries"] == "red"
    assert report.texts["deliveries"].startswith("Stripe sent the events of 0 of 3 payments")
    # Events that the reconciler has fetched were not delivered.
    shopfront.run_jobs()
    assert doctor(shopfront).levels["deliveries"] == "red"


@pytest.mark.case("WH-03")
def test_wh03_events_that_arrive_are_green(shopfront: Shopfront) -> None:
    for payment_intent in pay_three(shopfront):
        wait_for_event(shopfront, "payment_intent.succeeded", payment_intent)
    shopfront.clock.move(minutes=11)
    report = doctor(shopfront)
    assert report.levels["deliveries"] == "green"
    assert report.texts["deliveries"] == "Stripe sent the event of each payment of the last day (3)"


@pytest.mark.case("WH-03")
def test_wh03_a_disabled_endpoint_is_red(shopfront: Shopfront) -> None:
    shopfront.silence_stripe()
    report = doctor(shopfront)
    assert report.levels["webhook"] == "red"
    assert "is disabled: Stripe sends nothing" in report.texts["webhook"]


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        (
            {"enabled_events": ["payment_intent.succeeded"]},
            "red",
            "is not subscribed to charge.dispute",
        ),
        ({"url": "https://staging.example.org/stripe_webhook"}, "yellow", "no endpoint at Stripe"),
        ({}, "yellow", f"sends the account's default version, not {API_VERSION}"),
    ],
    ids=["events", "address", "version"],
)
def test_a_webhook_that_is_not_as_the_shop_needs_it(
    shopfront: Shopfront, changed: Any, level: str, text: str
) -> None:
    endpoint = shopfront.stripe.v1.webhook_endpoints.list().data[0]
    if changed:
        shopfront.stripe.v1.webhook_endpoints.update(endpoint.id, changed)
    report = doctor(shopfront)
    assert (report.levels["webhook"], text in report.texts["webhook"]) == (level, True)


@pytest.mark.case("WH-09")
@pytest.mark.parametrize(("ahead", "level"), [(0, "green"), (60, "yellow"), (-400, "red")])
def test_wh09_a_wrong_clock(
    shopfront: Shopfront, monkeypatch: pytest.MonkeyPatch, ahead: int, level: str
) -> None:
    stripes_time = formatdate(time.time() - ahead, usegmt=True)
    handler = shopfront.servers[1].server.RequestHandlerClass
    monkeypatch.setattr(handler, "date_time_string", lambda *_args: stripes_time)
    report = doctor(shopfront)
    assert report.levels["clock"] == level
    if ahead:
        direction = "ahead of" if ahead > 0 else "behind"
        assert re.match(rf"(59|6\d|400|39\d) s {direction} Stripe's", report.texts["clock"])


class TestRevokedKey:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"stripe_secret_key": "sk_test_revoked_long_ago"}

    def test_a_key_that_stripe_rejects_is_red(self, shopfront: Shopfront) -> None:
        report = doctor(shopfront)
        assert report.texts["keys"] == "Stripe rejects the key sk_test_… (test)"
        assert "revoked_long_ago" not in report.text
        assert report.code == 2


def test_what_a_restricted_key_may_not_read_is_yellow(
    shopfront: Shopfront, answers: FixedAnswers
) -> None:
    for path in ("webhook_endpoints", "account", "payment_method_configurations"):
        answers.deny(f"/v1/{path}", 403)
    report = doctor(shopfront)
    for name in ("keys", "clock", "account", "webhook", "methods"):
        assert report.levels[name] == "yellow", name
    assert report.levels["fraud"] == "green"


@pytest.mark.parametrize(
    ("on", "level", "text"),
    [
        (("card", "sepa_debit"), "green", "usd: card"),
        (("sepa_debit", "ideal"), "red", "none accepts usd"),
        ((), "red", "none is switched on"),
        (("link",), "yellow", "cards are off. usd: link"),
    ],
)
def test_each_currency_needs_a_payment_method(
    shopfront: Shopfront, answers: FixedAnswers, on: tuple[str, ...], level: str, text: str
) -> None:
    answers.methods(*on)
    report = doctor(shopfront)
    assert (report.levels["methods"], report.texts["methods"]) == (level, text)


@pytest.mark.parametrize(
    ("changed", "level"),
    [
        ({"requirements": {"currently_due": ["external_account"], "past_due": []}}, "yellow"),
        ({"charges_enabled": False, "details_submitted": False}, "yellow"),
        ({}, "green"),
    ],
)
def test_an_account_whose_onboarding_is_not_complete(
    shopfront: Shopfront, answers: FixedAnswers, changed: Any, level: str
) -> None:
    answers.by_path["/v1/account"] = 200, ACCOUNT | changed
    assert doctor(shopfront).levels["account"] == level


def test_payments_that_banks_warn_of_are_yellow(
    shopfront: Shopfront, answers: FixedAnswers
) -> None:
    warning = {"object": "radar.early_fraud_warning", "id": "issfr_1", "actionable": True}
    done = {"object": "radar.early_fraud_warning", "id": "issfr_2", "actionable": False}
    answers.list("/v1/radar/early_fraud_warnings", warning, done)
    assert doctor(shopfront).texts["fraud"].startswith("banks warn of 1 payments")


class TestNoMailServer:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"mail_server": "127.0.0.1", "mail_port": free_port(), "mail_use_tls": False}

    def test_a_mail_server_that_does_not_answer_is_red(self, shopfront: Shopfront) -> None:
        report = doctor(shopfront)
        assert report.levels["mail"] == "red"
        assert "no connection to the mail server" in report.texts["mail"]


class TestMailServerWithoutSender:
    @pytest.fixture
    def postbox(self) -> Postbox:
        return Postbox()

    @pytest.fixture
    def settings(self, postbox: Postbox) -> Iterator[dict[str, Any]]:
        with mail_server(postbox) as port:
            yield {"mail_server": "127.0.0.1", "mail_port": port, "mail_use_tls": False}

    def test_a_mail_server_without_a_sender_is_yellow(
        self, shopfront: Shopfront, postbox: Postbox
    ) -> None:
        report = doctor(shopfront)
        assert report.levels["mail"] == "yellow"
        assert "Set MAIL_DEFAULT_SENDER" in report.text
        assert postbox.received == []


def test_a_missing_subscription_to_any_handled_event_is_red(shopfront: Shopfront) -> None:
    endpoint = shopfront.stripe.v1.webhook_endpoints.list().data[0]
    for missing in HANDLERS:
        events = sorted(set(HANDLERS) - {missing})
        shopfront.stripe.v1.webhook_endpoints.update(endpoint.id, {"enabled_events": events})
        assert doctor(shopfront).texts["webhook"] == f"{endpoint.id} is not subscribed to {missing}"
