"""Settings: the three modes, and every combination that is refused with what to set instead."""

from __future__ import annotations

import errno
import socket
import stat

import pytest
from pydantic import ValidationError

from tmt import environment
from tmt.config import STRIPE_JS, InvalidSettings, Settings
from tmt.environment import load_settings, renamed_settings

TEST = {
    "STRIPE_SECRET_KEY": "sk_test_1",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_1",
    "SECRET_KEY": "s" * 32,
    "TMT_BASE_URL": "https://tickets.example",
}
LIVE = TEST | {
    "STRIPE_SECRET_KEY": "sk_live_1",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "MAIL_DEFAULT_SENDER": "Shop <tickets@example.org>",
}
FLASK_RUN = "http://127.0.0.1:5000"


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Loads the settings of an environment that holds these variables and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)

    def load(environment, flask_run="", **overrides):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return load_settings(overrides, flask_run=flask_run)

    return load


def test_without_a_key_flask_run_is_a_sandbox(load, tmp_path):
    settings = load({}, FLASK_RUN)
    assert (settings.mode, settings.livemode) == ("sandbox", False)
    assert settings.base_url == FLASK_RUN
    assert settings.stripe_api_base == f"{FLASK_RUN}/sandbox"
    assert settings.stripe_js_url == f"{FLASK_RUN}/sandbox/stripe.js"
    assert (settings.database_url, settings.instance) == ("", tmp_path / "instance")
    again = load({}, FLASK_RUN)
    names = ("secret_key", "stripe_secret_key", "stripe_publishable_key", "stripe_webhook_secrets")
    assert [getattr(again, name) for name in names] == [getattr(settings, name) for name in names]
    for path in (tmp_path / "instance" / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_sandbox_can_be_asked_for_anywhere(load):
    settings = load({"TMT_SANDBOX": "1"})
    assert (settings.mode, settings.log_format) == ("sandbox", "json")
    assert settings.stripe_secret_key.startswith("sk_test_")


@pytest.mark.parametrize("secret", ["sk_test_1", "rk_test_1"])
def test_test_keys_make_test_mode(load, secret):
    settings = load(TEST | {"STRIPE_SECRET_KEY": secret})
    assert (settings.mode, settings.livemode) == ("test", False)
    assert (settings.stripe_api_base, settings.stripe_js_url) == ("", STRIPE_JS)
    other = load(TEST | {"STRIPE_API_BASE": "http://127.0.0.1:12111/"})
    assert (other.mode, other.stripe_api_base) == ("test", "http://127.0.0.1:12111")


@pytest.mark.parametrize("secret", ["sk_live_1", "rk_live_1"])
def test_live_keys_make_live_mode(load, secret):
    settings = load(LIVE | {"STRIPE_SECRET_KEY": secret, "TMT_BASE_URL": "https://t.example/"})
    assert (settings.mode, settings.livemode) == ("live", True)
    assert (settings.base_url, settings.stripe_js_url) == ("https://t.example", STRIPE_JS)


@pytest.mark.parametrize(("port", "uses_ssl"), [("465", True), ("587", False)])
def test_port_465_is_implicit_tls(load, port, uses_ssl):
    assert load(TEST | {"MAIL_PORT": port, "MAIL_USE_SSL": "0"}).mail_uses_ssl is uses_ssl


def test_the_keys_are_written_where_there_are_no_hard_links(load, monkeypatch):
    def refuse(*_args):
        raise PermissionError("no hard links")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    first, second = load({}, FLASK_RUN), load({}, FLASK_RUN)
    assert first.secret_key == second.secret_key != ""


def test_only_the_names_in_the_documentation_are_settings(load, tmp_path):
    names = {"LANGUAGE": "en_US:en", "INSTANCE": "/nowhere", "API": "yes", "LOG_LEVEL": "debug"}
    (tmp_path / ".env").write_text("CONTACT=nobody\nBASE_URL=x\nMAIL_SENDER=x\nDECLINE_ALERT_MIN=x")
    settings = load(TEST | names | {"TMT_DECLINE_ALERT_MIN": "3"}, decline_alert_min=4)
    assert (settings.language, settings.api, settings.log_level) == ("es", "on", "INFO")
    assert (settings.instance, settings.contact) == (tmp_path / "instance", "")
    assert settings.decline_alert_min == 4


def test_a_tilde_is_the_home_folder(load):
    paths = {"TMT_INSTANCE": "~/shop", "DATABASE_URL": "sqlite:///~/a.sqlite"}
    settings = load(TEST | paths | {"HOME": "/home/ana"})
    assert str(settings.instance) == "/home/ana/shop"
    assert settings.database_url == "sqlite:////home/ana/a.sqlite"


def test_what_cannot_be_read_or_written_is_one_sentence(load, monkeypatch, tmp_path):
    def refuse(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.write_text", refuse)
        with pytest.raises(InvalidSettings) as error:
            load({"TMT_SANDBOX": "1", "TMT_INSTANCE": "data"})
    assert str(tmp_path / "data" / "keys") in error.value.message
    (tmp_path / ".env").write_bytes("TMT_SHOP_NAME=Café".encode("latin-1"))
    for flask_run in ("", FLASK_RUN):
        with pytest.raises(InvalidSettings, match="not in UTF-8"):
            load({}, flask_run)


def test_the_newest_address_that_answers_is_taken(tmp_path):
    assert environment.left_address(tmp_path) == environment.DEFAULT_ADDRESS
    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = f"http://127.0.0.1:{server.getsockname()[1]}"
        for address in (serving, "http://127.0.0.1:1"):
            environment.leave_address(tmp_path, address)
        assert environment.left_address(tmp_path) == serving
    environment.take_address_back(tmp_path, serving)
    assert environment.left_address(tmp_path) == "http://127.0.0.1:1"


def test_several_webhook_secrets_and_origins(load):
    lists = {"STRIPE_WEBHOOK_SECRET": "whsec_a, whsec_b,", "TMT_API_ORIGINS": "https://a,https://b"}
    settings = load(TEST | lists)
    assert settings.stripe_webhook_secrets == ("whsec_a", "whsec_b")
    assert settings.api_origins == ("https://a", "https://b")
    assert Settings.model_fields["api_origins"].default == ("*",)


REFUSED = [
    (
        {},
        (
            "No Stripe key is set. Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY, or "
            "TMT_SANDBOX=1 for a shop in which no real money is charged."
        ),
    ),
    (
        TEST | {"SECRET_KEY": ""},
        (
            "SECRET_KEY is not set. Set it to a long random text, the same for every process:"
            ' python -c "import secrets; print(secrets.token_hex(32))"'
        ),
    ),
    (
        TEST | {"TMT_BASE_URL": ""},
        (
            "TMT_BASE_URL is not set. Set it to the shop's public address, such as "
            "https://tickets.example.org: links in mails begin with it."
        ),
    ),
    (
        TEST | {"STRIPE_PUBLISHABLE_KEY": "sk_test_1"},
        (
            "STRIPE_PUBLISHABLE_KEY holds a secret key, which every buyer would see. Set it "
            "to the key that begins with pk_, and roll the secret key in Stripe."
        ),
    ),
    (
        LIVE | {"STRIPE_PUBLISHABLE_KEY": "rk_live_1"},
        (
            "STRIPE_PUBLISHABLE_KEY holds a secret key, which every buyer would see. Set it "
            "to the key that begins with pk_, and roll the secret key in Stripe."
        ),
    ),
    (
        {"STRIPE_PUBLISHABLE_KEY": "sk_live_1"},
        (
            "STRIPE_PUBLISHABLE_KEY holds a secret key, which every buyer would see. Set it "
            "to the key that begins with pk_, and roll the secret key in Stripe."
        ),
    ),
    (
        TEST | {"TMT_SANDBOX": "1"},
        "TMT_SANDBOX is on and STRIPE_SECRET_KEY is set. Unset one of the two.",
    ),
    (
        LIVE | {"TMT_SANDBOX": "1"},
        "TMT_SANDBOX is on and STRIPE_SECRET_KEY is set. Unset one of the two.",
    ),
    (
        {"STRIPE_PUBLISHABLE_KEY": "pk_test_1"},
        "STRIPE_PUBLISHABLE_KEY is set but STRIPE_SECRET_KEY is not. Set both.",
    ),
    (
        TEST | {"STRIPE_SECRET_KEY": "pk_test_1"},
        "STRIPE_SECRET_KEY must begin with sk_test_, sk_live_, rk_test_ or rk_live_.",
    ),
    (
        TEST | {"STRIPE_SECRET_KEY": "hello"},
        "STRIPE_SECRET_KEY must begin with sk_test_, sk_live_, rk_test_ or rk_live_.",
    ),
    (
        TEST | {"STRIPE_PUBLISHABLE_KEY": ""},
        "STRIPE_PUBLISHABLE_KEY must be set and begin with pk_test_ or pk_live_.",
    ),
    (
        TEST | {"STRIPE_PUBLISHABLE_KEY": "pk_live_1"},
        (
            "STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY are of different modes. Set both to"
            " live keys or both to test keys."
        ),
    ),
    (
        LIVE | {"STRIPE_PUBLISHABLE_KEY": "pk_test_1"},
        (
            "STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY are of different modes. Set both to"
            " live keys or both to test keys."
        ),
    ),
    (
        TEST | {"STRIPE_WEBHOOK_SECRET": "whsec_a,oops"},
        "STRIPE_WEBHOOK_SECRET must hold secrets that begin with whsec_, comma-separated.",
    ),
    (
        LIVE | {"STRIPE_API_BASE": "http://127.0.0.1:9"},
        ("STRIPE_API_BASE is set together with live keys. Unset it: live money goes to Stripe."),
    ),
    (
        LIVE | {"MAIL_DEFAULT_SENDER": ""},
        (
            "MAIL_DEFAULT_SENDER is not set. Set it to the address that tickets come from, such as"
            " Teatro Central <entradas@example.org>."
        ),
    ),
    (
        LIVE | {"STRIPE_WEBHOOK_SECRET": ""},
        (
            "STRIPE_WEBHOOK_SECRET is not set. Register the webhook in Stripe's dashboard and"
            " set it to the signing secret (whsec_…) shown there."
        ),
    ),
    (
        LIVE | {"SECRET_KEY": ""},
        ("SECRET_KEY is not set or short. Set it to a random text of 32 characters or more."),
    ),
    (
        LIVE | {"SECRET_KEY": "short"},
        ("SECRET_KEY is not set or short. Set it to a random text of 32 characters or more."),
    ),
    (
        LIVE | {"TMT_BASE_URL": "http://tickets.example"},
        "TMT_BASE_URL must be the shop's public https:// address when live keys are used.",
    ),
    (
        LIVE | {"TMT_BASE_URL": ""},
        "TMT_BASE_URL must be the shop's public https:// address when live keys are used.",
    ),
    (
        TEST | {"TMT_BASE_URL": "tickets.example"},
        "TMT_BASE_URL: it must begin with http:// or https://",
    ),
    (
        TEST | {"STRIPE_API_BASE": "localhost:12111"},
        "STRIPE_API_BASE: it must begin with http:// or https://",
    ),
]


@pytest.mark.case("WH-15")
@pytest.mark.parametrize(("environment", "sentence"), REFUSED)
def test_wh15_what_cannot_be_is_refused_with_what_to_set(load, environment, sentence):
    with pytest.raises(InvalidSettings) as error:
        load(environment)
    assert error.value.message == sentence


def test_flask_run_does_not_make_live_keys_any_softer(load):
    for missing in ("STRIPE_WEBHOOK_SECRET", "SECRET_KEY", "TMT_BASE_URL"):
        with pytest.raises(InvalidSettings, match=missing):
            load(LIVE | {missing: ""}, FLASK_RUN)


def test_a_sandbox_can_be_ruled_out(load):
    with pytest.raises(InvalidSettings, match="No Stripe key is set"):
        load({"TMT_SANDBOX": "0"}, FLASK_RUN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMT_HOLD_MINUTES", "0"),
        ("TMT_HOLD_MINUTES", "soon"),
        ("MAIL_PORT", "70000"),
        ("TMT_STRIPE_TIMEOUT", "60"),
        ("TMT_STRIPE_RETRIES", "-1"),
        ("TMT_LOG_LEVEL", "LOUD"),
        ("TMT_LOG_FORMAT", "xml"),
        ("PROMETHEUS_MULTIPROC_DIR", "metrics"),
        ("TMT_TRUSTED_PROXIES", "99"),
    ],
)
def test_values_out_of_range_are_refused_by_their_name(load, name, value):
    with pytest.raises(InvalidSettings) as error:
        load(TEST | {name: value})
    assert error.value.message.startswith(f"{name}: ")
    assert len(error.value.message.splitlines()) == 1


def test_no_refusal_shows_a_secret(load):
    key = "sk_live_TOPSECRET"
    secrets = {"STRIPE_SECRET_KEY": key, "STRIPE_PUBLISHABLE_KEY": key}
    with pytest.raises(InvalidSettings) as error:
        load(LIVE | secrets | {"STRIPE_WEBHOOK_SECRET": "TOPSECRET", "TMT_HOLD_MINUTES": "0"})
    assert "TOPSECRET" not in str(error.value) + error.value.message
    assert error.value.__suppress_context__


def test_settings_do_not_show_secrets_and_cannot_be_changed(load):
    secrets = {
        "STRIPE_SECRET_KEY": "sk_live_MARKER",
        "STRIPE_WEBHOOK_SECRET": "whsec_MARKER",
        "SECRET_KEY": "MARKER" * 6,
        "DATABASE_URL": "postgresql://u:MARKER@h/d",
        "MAIL_PASSWORD": "MARKER",
        "TMT_JOBS_URL": "redis://:MARKER@h",
        "TMT_METRICS_TOKEN": "MARKER",
    }
    settings = load(LIVE | secrets)
    assert "MARKER" not in repr(settings) + str(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.hold_minutes = 1


def test_a_dotenv_file_is_read_and_the_environment_wins(load, tmp_path):
    lines = [f"{name}={value}" for name, value in TEST.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "TMT_HOLD_MINUTES=7", "TMT_SHOP_NAME="]))
    settings = load({})
    assert (settings.mode, settings.hold_minutes, settings.shop_name) == ("test", 7, "TMT")
    assert load({"TMT_HOLD_MINUTES": "9"}).hold_minutes == 9
    assert load({"TMT_HOLD_MINUTES": "9"}, hold_minutes=11).hold_minutes == 11


OLD_NAMES = {"TMT_ALARM_SHARE": "0.25", "TMT_ALARM_LEAST": "7"}


class TestRenamedSettings:
    @pytest.fixture(autouse=True)
    def without_old_names(self, monkeypatch):
        for name in OLD_NAMES:
            monkeypatch.delenv(name, raising=False)

    def test_the_old_names_still_work_and_are_reported(self, load):
        settings = load(TEST | OLD_NAMES)
        assert (settings.decline_alert_share, settings.decline_alert_min) == (0.25, 7)
        assert renamed_settings() == [
            "TMT_ALARM_SHARE is now TMT_DECLINE_ALERT_SHARE; the old name still works",
            "TMT_ALARM_LEAST is now TMT_DECLINE_ALERT_MIN; the old name still works",
        ]

    def test_in_a_dotenv_file_too(self, load, tmp_path):
        (tmp_path / ".env").write_text("TMT_ALARM_LEAST=7\n")
        assert load(TEST).decline_alert_min == 7
        assert len(renamed_settings()) == 1

    def test_the_new_name_wins(self, load):
        settings = load(TEST | OLD_NAMES | {"TMT_DECLINE_ALERT_MIN": "9"})
        assert settings.decline_alert_min == 9

    def test_a_wrong_value_is_refused(self, load):
        with pytest.raises(InvalidSettings, match="TMT_.*less than or equal to 1"):
            load(TEST | {"TMT_ALARM_SHARE": "2"})

    def test_nothing_is_reported_of_the_new_names(self, load):
        load(TEST | {"TMT_DECLINE_ALERT_MIN": "9"})
        assert renamed_settings() == []
