"""Settings: the environment and `.env`, read once into a frozen, typed object.

`.env` and relative paths belong to the folder of `app.py`, wherever a command is typed. Nobody
else reads the environment. Combinations that would sell wrongly or unsafely are refused
at start, with a sentence that says what to set.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from click import ClickException
from dotenv import dotenv_values, find_dotenv
from limits import parse_many
from pydantic import (
    AliasChoices,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tmt.core.mail_transport import parse_sender

Mode = Literal["sandbox", "test", "live"]

ROOT = Path(__file__).parent.parent
DEFAULT_ADDRESS = "http://127.0.0.1:5000"
# Where `flask run` leaves its address, in the instance folder.
ADDRESS_FILE = "address"
# For `load_settings` in any flask command but `flask run`: wherever that one serves.
LEFT_ADDRESS = "left by flask run"
STRIPE_JS = "https://js.stripe.com/endive/stripe.js"


_IMPLICIT_TLS_PORT = 465
_DATABASE_URL_FORMS = (
    "it must be sqlite:////absolute/path/of/file.sqlite or postgresql://user:password@host/name"
)


class InvalidSettings(ClickException):
    """The shop cannot start with these settings; the message says what to set."""


class Settings(BaseSettings):
    """Every setting with its default; `.env.example` explains them to operators."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    secret_key: str = Field("", alias="SECRET_KEY", repr=False)
    database_url: str = Field("", alias="DATABASE_URL", repr=False)
    stripe_secret_key: str = Field("", alias="STRIPE_SECRET_KEY", repr=False)
    stripe_publishable_key: str = Field("", alias="STRIPE_PUBLISHABLE_KEY")
    stripe_webhook_secrets: Annotated[tuple[str, ...], NoDecode] = Field(
        (), alias="STRIPE_WEBHOOK_SECRET", repr=False
    )
    stripe_api_base: str = Field("", alias="STRIPE_API_BASE")
    base_url: str = Field("", alias="TMT_BASE_URL")
    sandbox: bool | None = Field(None, alias="TMT_SANDBOX")
    jobs_url: str = Field("", alias="TMT_JOBS_URL", repr=False)

    mail_server: str = Field("", alias="MAIL_SERVER")
    mail_port: int = Field(587, alias="MAIL_PORT", gt=0, lt=65536)
    mail_username: str = Field("", alias="MAIL_USERNAME", repr=False)
    mail_password: str = Field("", alias="MAIL_PASSWORD", repr=False)
    mail_use_tls: bool = Field(True, alias="MAIL_USE_TLS")
    mail_use_ssl: bool = Field(False, alias="MAIL_USE_SSL")
    mail_sender: str = Field("", alias="MAIL_DEFAULT_SENDER")

    instance: Path = Field(Path("instance"), alias="TMT_INSTANCE")
    shop_name: str = Field("TMT", alias="TMT_SHOP_NAME", min_length=1)
    spanish: Literal["es", "es_419"] = Field("es", alias="TMT_SPANISH")
    hold_minutes: int = Field(15, alias="TMT_HOLD_MINUTES", ge=1, le=240)
    hold_extensions: int = Field(3, alias="TMT_HOLD_EXTENSIONS", ge=0, le=20)
    block_disputed: bool = Field(True, alias="TMT_BLOCK_DISPUTED")
    organiser_email: str = Field("", alias="TMT_ORGANISER_EMAIL")
    few_left: int = Field(10, alias="TMT_FEW_LEFT", ge=0)
    orders_per_address: str = Field(
        "40 per 10 minutes; 100 per hour", alias="TMT_ORDERS_PER_ADDRESS"
    )
    orders_per_session: str = Field("10 per 10 minutes", alias="TMT_ORDERS_PER_SESSION")
    orders_per_email: str = Field("10 per 10 minutes", alias="TMT_ORDERS_PER_EMAIL")
    orders_overall: str = Field("30000 per 10 minutes", alias="TMT_ORDERS_IN_ALL")
    confirms_per_address: str = Field("600 per 10 minutes", alias="TMT_CONFIRMS_PER_ADDRESS")
    confirms_per_order: str = Field("60 per 10 minutes", alias="TMT_CONFIRMS_PER_ORDER")
    declines_per_order: int = Field(10, alias="TMT_DECLINES_PER_ORDER", ge=1)
    # A setting that was renamed is also read under its old name; the new one wins.
    decline_alert_share: float = Field(
        0.5,
        alias="TMT_DECLINE_ALERT_SHARE",
        validation_alias=AliasChoices("TMT_DECLINE_ALERT_SHARE", "TMT_ALARM_SHARE"),
        gt=0,
        le=1,
    )
    decline_alert_min: int = Field(
        20,
        alias="TMT_DECLINE_ALERT_MIN",
        validation_alias=AliasChoices("TMT_DECLINE_ALERT_MIN", "TMT_ALARM_LEAST"),
        ge=1,
    )
    finds_per_address: str = Field("10 per 10 minutes", alias="TMT_FINDS_PER_ADDRESS")
    api_per_address: str = Field("60 per minute", alias="TMT_API_PER_ADDRESS")
    limits_url: str = Field("", alias="TMT_LIMITS_URL", repr=False)
    api_origins: Annotated[tuple[str, ...], NoDecode] = Field(("*",), alias="TMT_API_ORIGINS")
    trusted_proxies: int = Field(0, alias="TMT_TRUSTED_PROXIES", ge=0, le=10)
    stripe_timeout: float = Field(5.0, alias="TMT_STRIPE_TIMEOUT", gt=0, le=25)
    stripe_retries: int = Field(1, alias="TMT_STRIPE_RETRIES", ge=0, le=5)
    sandbox_public: bool = Field(False, alias="TMT_SANDBOX_PUBLIC")
    metrics_token: str = Field("", alias="TMT_METRICS_TOKEN", repr=False)
    metrics_folder: str = Field("", alias="PROMETHEUS_MULTIPROC_DIR")
    log_format: Literal["readable", "json"] = Field("json", alias="TMT_LOG_FORMAT")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="TMT_LOG_LEVEL")

    @field_validator("stripe_webhook_secrets", "api_origins", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "orders_per_address",
        "orders_per_session",
        "orders_per_email",
        "orders_overall",
        "confirms_per_address",
        "confirms_per_order",
        "finds_per_address",
        "api_per_address",
    )
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        try:
            parse_many(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a limit such as '20 per 10 minutes'") from None
        return value

    @field_validator("base_url", "stripe_api_base")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        try:
            url = make_url(value) if value else None
        except ArgumentError:
            raise ValueError(_DATABASE_URL_FORMS) from None
        if url and url.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
            raise ValueError(_DATABASE_URL_FORMS)
        if url and not url.database:
            raise ValueError(f"it names no database; {_DATABASE_URL_FORMS}")
        return value

    @field_validator("jobs_url", "limits_url")
    @classmethod
    def _check_shared_url(cls, value: str, info: ValidationInfo) -> str:
        schemes: tuple[str, ...] = ("redis://", "rediss://", "unix://")
        if info.field_name == "jobs_url":
            schemes = ("redis://", "rediss://", "postgres://", "postgresql://")
        if value and not value.startswith(schemes):
            raise ValueError(f"it must begin with {' or '.join(schemes)}")
        return value

    @field_validator("mail_sender")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if value:
            parse_sender(value)
        return value

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        problem = next(_problems(self), None)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def mode(self) -> Mode:
        """Which of the three modes this is: shown on pages, never used by a rule of the shop."""
        if self.sandbox:
            return "sandbox"
        return "live" if self.stripe_secret_key.startswith(("sk_live_", "rk_live_")) else "test"

    @property
    def livemode(self) -> bool:
        return self.mode == "live"

    @property
    def stripe_js_url(self) -> str:
        """The address of Stripe.js: Stripe's own, or the sandbox's."""
        return f"{self.stripe_api_base}/stripe.js" if self.stripe_api_base else STRIPE_JS

    @property
    def mail_folder(self) -> Path:
        return self.instance / "mail"

    @property
    def mail_uses_ssl(self) -> bool:
        """Whether the mail server speaks TLS from the first byte, as all do at port 465."""
        return self.mail_use_ssl or self.mail_port == _IMPLICIT_TLS_PORT


def load_settings(overrides: dict[str, Any] | None = None, *, flask_run: str = "") -> Settings:
    """The settings of this process, or `InvalidSettings` with what to set.

    `overrides` are settings by field name and win over the environment. `flask_run` is the
    address at which `flask run` is about to serve, `LEFT_ADDRESS` in its other commands, and empty
    elsewhere: with it, a shop without a Stripe key becomes a sandbox.
    """
    if flask_run:
        _refuse_foreign_dotenv()
    try:
        settings = Settings(_env_file=ROOT / ".env", **(overrides or {}))  # type: ignore[call-arg]
        return _complete(settings, flask_run)
    except ValidationError as error:
        raise InvalidSettings(_readable(error)) from None
    except OSError as error:
        raise InvalidSettings(
            f"{error.filename or ROOT} cannot be used: {error.strerror or error}. TMT_INSTANCE must"
            " be a folder that this user may write to and that has free space."
        ) from None


def unknown_settings() -> list[str]:
    """A sentence for each variable that looks like a setting and is none, such as a typing error.

    Each that begins with TMT_; of the others, those that nearly are a setting.
    """
    all_names = {name for field in Settings.model_fields.values() for name in _names(field)}
    sentences = []
    for name in sorted(_set_names() - all_names):
        is_ours = name.startswith("TMT_")
        close = difflib.get_close_matches(name, all_names, n=1, cutoff=0.6 if is_ours else 0.9)
        if close:
            sentences.append(f"{name} is not a setting: did you mean {close[0]}?")
        elif is_ours:
            sentences.append(f"{name} is not a setting; .env.example lists them all")
    return sentences


def renamed_settings() -> list[str]:
    """A sentence for each setting that the environment or `.env` sets under its old name."""
    names = {name.lower() for name in _set_names()}
    sentences = []
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            name, old_name = field.validation_alias.choices
            if str(old_name).lower() in names:
                sentences.append(f"{old_name} is now {name}; the old name still works")
    return sentences


def _set_names() -> set[str]:
    """The names of all variables of the environment and of `.env`."""
    of_file = DotEnvSettingsSource(Settings, env_file=ROOT / ".env").env_vars
    return {name.upper() for name in EnvSettingsSource(Settings).env_vars.keys() | of_file}


def _names(field: FieldInfo) -> list[str]:
    """The setting's name, and its old one if it has one."""
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [str(name) for name in names]


def _refuse_foreign_dotenv() -> None:
    """Refuses the settings of another `.env`, which `flask` reads from the current folder.

    It puts them into the environment, so that they look like the shop's own.
    """
    other = find_dotenv(usecwd=True)
    if not other or Path(other).resolve() == (ROOT / ".env").resolve():
        return
    environment = EnvSettingsSource(Settings).env_vars
    foreign, own = dotenv_values(other), dotenv_values(ROOT / ".env")
    all_names = {name for field in Settings.model_fields.values() for name in _names(field)}
    names = sorted(
        name
        for name, value in foreign.items()
        if name in all_names and value and environment.get(name.lower()) == value != own.get(name)
    )
    if names:
        raise InvalidSettings(
            f"{', '.join(names)} would be taken from {other}, the .env of the folder that this"
            f" command is typed in. The shop's is {ROOT / '.env'}: run the command in {ROOT}, or"
            " with FLASK_SKIP_DOTENV=1."
        )


def _complete(settings: Settings, flask_run: str) -> Settings:
    """Fills in what a mode decides: the sandbox's keys, paths of files, the public address."""
    instance = (ROOT / settings.instance).resolve()
    sandbox = settings.sandbox
    if sandbox is None:
        sandbox = bool(flask_run) and not settings.stripe_secret_key
    if flask_run == LEFT_ADDRESS:
        flask_run = left_address(instance)
    base_url = settings.base_url or flask_run or (DEFAULT_ADDRESS if sandbox else "")
    values: dict[str, Any] = {
        "instance": instance,
        "sandbox": sandbox,
        "base_url": base_url,
        "database_url": _absolute(settings.database_url),
    }
    if sandbox:
        publishable_key = _persistent_secret(instance, "sandbox-publishable-key")
        signing_secret = _persistent_secret(instance, "sandbox-webhook-secret")
        values |= {
            "stripe_secret_key": f"sk_test_{_persistent_secret(instance, 'sandbox-secret-key')}",
            "stripe_publishable_key": f"pk_test_{publishable_key}",
            "stripe_webhook_secrets": (f"whsec_{signing_secret}",),
            "stripe_api_base": f"{base_url}/sandbox",
        }
    if not settings.secret_key and (sandbox or flask_run):
        values["secret_key"] = _persistent_secret(instance, "secret-key")
    completed = settings.model_copy(update=values)
    _require_complete(completed)
    return completed


def left_address(instance: Path) -> str:
    """Where `flask run` on this instance folder serves, or served last; its default before that."""
    file = instance / ADDRESS_FILE
    address = file.read_text().strip() if file.exists() else ""
    return address if address.startswith(("http://", "https://")) else DEFAULT_ADDRESS


def _absolute(database_url: str) -> str:
    """The address with an SQLite file's path from the folder of `app.py`."""
    if not database_url.startswith("sqlite"):
        return database_url
    url = make_url(database_url)
    if not url.database or url.database.startswith(("file:", ":memory:")):
        return database_url
    return url.set(database=str(ROOT / url.database)).render_as_string(hide_password=False)


def _require_complete(settings: Settings) -> None:
    if not settings.stripe_secret_key:
        raise InvalidSettings(
            "No Stripe key is set. Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY, or"
            " TMT_SANDBOX=1 for a shop in which no real money is charged."
        )
    if not settings.secret_key:
        raise InvalidSettings(
            "SECRET_KEY is not set. Set it to a long random text, the same for every process:"
            ' python -c "import secrets; print(secrets.token_hex(32))"'
        )
    if not settings.base_url:
        raise InvalidSettings(
            "TMT_BASE_URL is not set. Set it to the shop's public address, such as"
            " https://tickets.example.org: links in mails begin with it."
        )


def _problems(settings: Settings) -> Iterator[str]:
    """A sentence for each combination that is refused, the most dangerous first."""
    secret, publishable = settings.stripe_secret_key, settings.stripe_publishable_key
    if publishable.startswith(("sk_", "rk_")):
        yield (
            "STRIPE_PUBLISHABLE_KEY holds a secret key, which every buyer would see."
            " Set it to the key that begins with pk_, and roll the secret key in Stripe."
        )
    if settings.sandbox and secret:
        yield "TMT_SANDBOX is on and STRIPE_SECRET_KEY is set. Unset one of the two."
    if not secret:
        if publishable and not settings.sandbox:
            yield "STRIPE_PUBLISHABLE_KEY is set but STRIPE_SECRET_KEY is not. Set both."
        return
    if not secret.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
        yield "STRIPE_SECRET_KEY must begin with sk_test_, sk_live_, rk_test_ or rk_live_."
    if not publishable.startswith(("pk_test_", "pk_live_")):
        yield "STRIPE_PUBLISHABLE_KEY must be set and begin with pk_test_ or pk_live_."
    if secret[3:7] != publishable[3:7]:
        yield (
            "STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY are of different modes."
            " Set both to live keys or both to test keys."
        )
    if not all(text.startswith("whsec_") for text in settings.stripe_webhook_secrets):
        yield "STRIPE_WEBHOOK_SECRET must hold secrets that begin with whsec_, comma-separated."
    if secret[3:7] == "live":
        yield from _problems_of_live(settings)


def _problems_of_live(settings: Settings) -> Iterator[str]:
    if settings.stripe_api_base:
        yield "STRIPE_API_BASE is set together with live keys. Unset it: live money goes to Stripe."
    if not settings.stripe_webhook_secrets:
        yield (
            "STRIPE_WEBHOOK_SECRET is not set. Register the webhook in Stripe's dashboard and set"
            " it to the signing secret (whsec_…) shown there."
        )
    if not settings.secret_key or len(settings.secret_key) < 16:
        yield "SECRET_KEY is not set or short. Set it to a random text of 32 characters or more."
    if not settings.mail_sender:
        yield (
            "MAIL_DEFAULT_SENDER is not set. Set it to the address that tickets come from, such as"
            " Teatro Central <entradas@example.org>."
        )
    if not settings.base_url.startswith("https://"):
        yield "TMT_BASE_URL must be the shop's public https:// address when live keys are used."


def _persistent_secret(instance: Path, name: str) -> str:
    """A random text that survives restarts, in a file that only its owner can read."""
    path = instance / "keys" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(24))
        # Another process may have written it first: then its text counts.
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        except OSError:
            # Some file systems have no hard links. Then the last of several first starts wins.
            if not path.exists():
                draft.replace(path)
        draft.unlink(missing_ok=True)
    return path.read_text().strip()


def _readable(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        text = str(item["msg"]).removeprefix("Value error, ")
        lines.append(f"{name}: {text}" if name else text)
    return "\n".join(lines)
