"""Settings: one frozen, typed object with every default.

Combinations that would sell wrongly or unsafely are refused at start, with a sentence that says
what to set. `environment.py` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from click import ClickException
from limits import parse_many
from pydantic import (
    AliasChoices,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tmt.core.addresses import host_name
from tmt.core.mail_transport import parse_sender
from tmt.core.money import InvalidAmount, UnknownCurrency, parse_amount

Mode = Literal["sandbox", "test", "live"]

_MIN_RETENTION, _MAX_RETENTION = 40, 36500

STRIPE_JS = "https://js.stripe.com/endive/stripe.js"

_IMPLICIT_TLS_PORT = 465
_DATABASE_URL_FORMS = (
    "it must be sqlite:////absolute/path/of/file.sqlite or postgresql://user:password@host/name"
)


class InvalidSettings(ClickException):
    """The shop cannot start with these settings; the message says what to set."""


class Settings(BaseSettings):
    """Every setting with its default; `.env.example` explains them to operators."""

    # Without populate_by_name, which would read the variables LANGUAGE and INSTANCE as settings.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

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
    mail_timeout: float = Field(20.0, alias="TMT_MAIL_TIMEOUT", gt=0, le=40)

    instance: Path = Field(Path("instance"), alias="TMT_INSTANCE")
    shop_name: str = Field("TMT", alias="TMT_SHOP_NAME", min_length=1)
    language: Literal["es", "en"] = Field("es", alias="TMT_LANGUAGE")
    organiser: str = Field("", alias="TMT_ORGANISER", max_length=300)
    contact: str = Field("", alias="TMT_CONTACT", max_length=300)
    terms_url: str = Field("", alias="TMT_TERMS_URL")
    privacy_url: str = Field("", alias="TMT_PRIVACY_URL")
    tax_line: str = Field("", alias="TMT_TAX_LINE", max_length=300)
    spanish: Literal["es", "es_419"] = Field("es", alias="TMT_SPANISH")
    hold_minutes: int = Field(15, alias="TMT_HOLD_MINUTES", ge=1, le=240)
    hold_extensions: int = Field(10, alias="TMT_HOLD_EXTENSIONS", ge=0, le=20)
    grace_days: int = Field(7, alias="TMT_GRACE_DAYS", ge=0, le=90)
    block_disputed: bool = Field(True, alias="TMT_BLOCK_DISPUTED")
    organiser_email: str = Field("", alias="TMT_ORGANISER_EMAIL")
    few_left: int = Field(10, alias="TMT_FEW_LEFT", ge=0)
    orders_per_address: str = Field(
        "40 per 10 minutes; 100 per hour", alias="TMT_ORDERS_PER_ADDRESS"
    )
    unpaid_per_address: int = Field(40, alias="TMT_UNPAID_PER_ADDRESS", ge=0, le=100_000)
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
    api: Literal["on", "off"] = Field("on", alias="TMT_API")
    api_token: str = Field("", alias="TMT_API_TOKEN", repr=False)
    api_per_address: str = Field("60 per minute", alias="TMT_API_PER_ADDRESS")
    api_creates_overall: str = Field("1000 per 10 minutes", alias="TMT_API_CREATES_IN_ALL")
    api_floor: Annotated[Mapping[str, int], NoDecode] = Field({}, alias="TMT_API_FLOOR")
    limits_url: str = Field("", alias="TMT_LIMITS_URL", repr=False)
    api_origins: Annotated[tuple[str, ...], NoDecode] = Field(("*",), alias="TMT_API_ORIGINS")
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = Field((), alias="TMT_TRUSTED_HOSTS")
    trusted_proxies: int = Field(0, alias="TMT_TRUSTED_PROXIES", ge=0, le=10)
    hsts: str = Field("max-age=31536000", alias="TMT_HSTS")
    stripe_timeout: float = Field(5.0, alias="TMT_STRIPE_TIMEOUT", gt=0, le=25)
    stripe_retries: int = Field(1, alias="TMT_STRIPE_RETRIES", ge=0, le=5)
    stripe_calls: int = Field(6, alias="TMT_STRIPE_CALLS", ge=1, le=1000)
    sandbox_public: bool = Field(False, alias="TMT_SANDBOX_PUBLIC")
    # Days; 0 keeps for ever. The reconciler reads Stripe's events of 30 days, and would store those
    # again that it does not find.
    keep_events: int = Field(90, alias="TMT_KEEP_EVENTS")
    keep_outbox: int = Field(90, alias="TMT_KEEP_OUTBOX")
    keep_history: int = Field(1095, alias="TMT_KEEP_HISTORY")
    keep_personal_data: int = Field(730, alias="TMT_KEEP_PERSONAL_DATA")
    metrics_token: str = Field("", alias="TMT_METRICS_TOKEN", repr=False)
    metrics_folder: str = Field("", alias="PROMETHEUS_MULTIPROC_DIR")
    log_format: Literal["readable", "json"] = Field("json", alias="TMT_LOG_FORMAT")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="TMT_LOG_LEVEL")

    @field_validator("stripe_webhook_secrets", "api_origins", "trusted_hosts", mode="before")
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
        "api_creates_overall",
    )
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        try:
            parse_many(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a limit such as '20 per 10 minutes'") from None
        return value

    @field_validator("trusted_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not host_name(name):
                raise ValueError(f"'{name[:100]}' is not a host name such as tickets.example.org")
        return value

    @field_validator("hsts")
    @classmethod
    def _check_hsts(cls, value: str) -> str:
        if not re.fullmatch(r"max-age=\d{1,10}(; ?(includeSubDomains|preload)){0,2}", value):
            raise ValueError(
                "it must be like max-age=31536000 or max-age=31536000; includeSubDomains"
            )
        return value

    @field_validator("contact")
    @classmethod
    def _check_contact(cls, value: str) -> str:
        is_email = re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", value)
        if value and not is_email and not value.startswith("https://"):
            raise ValueError("it must be an email address or begin with https://")
        return value

    @field_validator("keep_events", "keep_outbox", "keep_history", "keep_personal_data")
    @classmethod
    def _check_retention(cls, value: int) -> int:
        if value and not _MIN_RETENTION <= value <= _MAX_RETENTION:
            raise ValueError(f"it must be {_MIN_RETENTION} days or more, or 0 to keep for ever")
        return value

    @field_validator("api_floor", mode="before")
    @classmethod
    def _read_floors(cls, value: Any) -> Any:
        """'5 USD, 4.50 EUR' as minor units by currency."""
        if not isinstance(value, str):
            return value
        floors = {}
        for part in filter(str.strip, value.split(",")):
            amount, _, currency = part.strip().partition(" ")
            try:
                floors[currency.strip().lower()] = parse_amount(amount, currency.strip())
            except (InvalidAmount, UnknownCurrency) as error:
                raise ValueError(f"{error}; write it as '5 USD, 4.50 EUR'") from None
        return floors

    @field_validator("base_url", "stripe_api_base", "terms_url", "privacy_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return value

    @field_validator("base_url", "stripe_api_base")
    @classmethod
    def _cut_slash(cls, value: str) -> str:
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

    @field_validator("metrics_folder")
    @classmethod
    def _check_metrics_folder(cls, value: str) -> str:
        # The library reads the variable itself.
        if value and not Path(value).is_absolute():
            raise ValueError(
                "it must be an absolute path: a relative one would belong to whatever folder a"
                " command is typed in"
            )
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
    def seller(self) -> dict[str, str]:
        """Who sells, on what terms, whom to ask: for pages and mails; "" for what is not set."""
        contact_url = f"mailto:{self.contact}" if "@" in self.contact else self.contact
        return {
            "name": self.organiser,
            "contact": self.contact.removeprefix("https://"),
            "contact_url": contact_url,
            "terms_url": self.terms_url,
            "privacy_url": self.privacy_url,
            "tax": self.tax_line,
        }

    @property
    def mail_folder(self) -> Path:
        return self.instance / "mail"

    @property
    def mail_uses_ssl(self) -> bool:
        """Whether the mail server speaks TLS from the first byte, as all do at port 465."""
        return self.mail_use_ssl or self.mail_port == _IMPLICIT_TLS_PORT


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
