"""What a catalogue file may say: every value is checked, and every error names its line and field.

docs/catalogue.md describes the format. The models below are what is read from a file and what is
written to one; their validators raise ValueError with the rest of a sentence that begins with the
field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from tmt.catalog.local_time import parse_local
from tmt.catalog.models import EventStatus, PlanInterval, PlanStatus
from tmt.catalog.yaml_lines import Place, Scalar, read_yaml
from tmt.core.i18n import LOCALES
from tmt.core.money import (
    AmountOutOfRange,
    InvalidAmount,
    UnknownCurrency,
    check_chargeable,
    known_currency,
    parse_amount,
)

_MAX_ERRORS_SHOWN = 50
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")
# Elements and entities that editors write; "a < b" and "<3" are text.
_HTML = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|body|br|center|code|div|em|font|h[1-6]|head|hr|html|i|iframe|img"
    r"|li|link|meta|ol|p|pre|s|script|section|small|span|strong|style|su[bp]|svg|t[dhr]|table|tbody"
    r"|thead|u|ul|video)(?:\s[^<>]{0,500})?/?>|&(?:[a-z]{2,8}|#[0-9]{1,6}|#x[0-9a-f]{1,5});",
    re.IGNORECASE,
)


class CatalogueError(Exception):
    """A catalogue that cannot be imported; `errors` has one line per thing to correct."""

    def __init__(self, errors: list[str]) -> None:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        more = len(errors) - _MAX_ERRORS_SHOWN
        rest = [f"... and {more} more"] if more > 0 else []
        super().__init__(
            "\n".join([f"{count}, nothing was imported:", *errors[:_MAX_ERRORS_SHOWN], *rest])
        )
        self.errors = errors


@dataclass
class ParseContext:
    """What the meaning of a value depends on besides itself; pydantic hands it to each validator.

    `zone` is that of the event that is being read; `event` has its valid fields while its ticket
    types are read. `used` has the values, by field, that may come only once.
    """

    now: datetime
    zone: ZoneInfo | None = None
    event: dict[str, Any] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)


def _context(info: ValidationInfo) -> ParseContext:
    return cast(ParseContext, info.context)


def _written(value: Any) -> str:
    """A single value as it is written in the file."""
    if value is None:
        raise ValueError("must not be empty")
    if isinstance(value, list | dict):
        raise ValueError("must be a single value")
    return value.text if isinstance(value, Scalar) else str(value)


def _text(max_length: int, *, required: bool = True, multiline: bool = False) -> PlainValidator:
    """Text of 1 to `max_length` characters; line breaks only with `multiline`.

    HTML in it is refused: pages show it as it is written.
    """

    def validate(value: Any) -> str:
        if value is None and not required:
            return ""
        written = _written(value)
        if not isinstance(value, str):
            raise ValueError(f'must be text: write it in quotes, "{written[:60]}"')
        clean = "\n".join(line.rstrip() for line in written.split("\n")).strip()
        if not clean:
            raise ValueError("must not be empty")
        if len(clean) > max_length:
            raise ValueError(f"must have at most {max_length} characters, not {len(clean)}")
        plain = clean.replace("\n", "").replace("\t", "") if multiline else clean
        if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in plain):
            raise ValueError("must not contain control characters or line breaks")
        if markup := _HTML.search(clean):
            raise ValueError(
                f"must be plain text, without HTML such as {markup[0][:40]}: pages show it as it is"
                " written"
            )
        return clean

    return PlainValidator(validate)


def _place(max_length: int) -> PlainValidator:
    """Text that says where people go; an online event may leave it out."""
    validate = _text(max_length).func

    def validate_place(value: Any, info: ValidationInfo) -> str:
        if value in (None, "") and info.data.get("online", True):
            return ""
        if value == "":
            raise ValueError("is missing")
        return str(validate(value))  # type: ignore[call-arg]  # it is one of ours

    return PlainValidator(validate_place)


def _yes_or_no(value: Any) -> bool:
    if _written(value) not in ("true", "false"):
        raise ValueError("must be true or false")
    return _written(value) == "true"


def _one_of(choices: Collection[str]) -> PlainValidator:
    """One of these words."""

    def validate(value: Any) -> str:
        if _written(value) not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return _written(value)

    return PlainValidator(validate)


def _whole_number(least: int, most: int) -> PlainValidator:
    """A whole number from `least` to `most`."""

    def validate(value: Any) -> int:
        if _WHOLE.fullmatch(_written(value)) and least <= int(_written(value)) <= most:
            return int(_written(value))
        raise ValueError(f"must be a whole number from {least} to {most}")

    return PlainValidator(validate)


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError("must be small letters a-z, digits and single hyphens, as 'noche-de-luna'")
    return value


def _unique(value: str, info: ValidationInfo) -> str:
    """Once in the file (a slug), or once in its event (name and key of a ticket type)."""
    earlier = _context(info).used.setdefault(info.field_name or "", set())
    if value in earlier:
        raise ValueError(f"'{value[:80]}' is used above already")
    earlier.add(value)
    return value


def _https_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or not _URL_CHARACTERS.fullmatch(value):
        raise ValueError(
            "must be an address that begins with https://, with %-codes for other letters"
        )
    return value


def _time_zone(value: Any) -> str:
    if _written(value) not in _time_zones():
        raise ValueError("must be an IANA time zone, such as Europe/Madrid")
    return _written(value)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _currency(value: Any) -> str:
    try:
        return known_currency(_written(value))
    except UnknownCurrency as error:
        raise ValueError(f"must be an ISO 4217 code, such as EUR: {error}") from None


def _price(value: Any, info: ValidationInfo) -> int:
    written, currency = _written(value), _context(info).event.get("currency")
    try:
        # A wrong currency has an error of its own; without one only the form can be checked, with
        # as many decimals as any currency has.
        minor = parse_amount(written, currency or "kwd")
        if currency:
            check_chargeable(minor, currency)
    except InvalidAmount as error:
        raise ValueError(str(error)) from None
    except AmountOutOfRange as error:
        raise ValueError(f"cannot be charged by Stripe: {error}") from None
    return minor


def _amount_off(value: Any, info: ValidationInfo) -> int:
    try:
        minor = parse_amount(_written(value), info.data.get("currency") or "kwd")
    except InvalidAmount as error:
        raise ValueError(str(error)) from None
    return _not_free(minor)


def _not_free(minor: int) -> int:
    if not minor:
        raise ValueError("must be more than 0")
    return minor


def _names(value: Any) -> dict[str, str]:
    """A text for each language, at least one."""
    if not isinstance(value, dict) or not value or not set(value) <= set(LOCALES):
        raise ValueError(f"must be a name for each language: {', '.join(LOCALES)}")
    check: Any = _text(120).func
    try:
        return {locale: check(value[locale]) for locale in LOCALES if locale in value}
    except ValueError as error:
        raise ValueError(f"each name {error}") from None


def _check_benefits(included: int, info: ValidationInfo) -> int:
    """Whether the benefits of a plan go together; of a donation, that it has none with a price."""
    own = info.data
    if not {"donation", "member_percent_off", "member_amount_off", "member_places"} <= own.keys():
        # One of them is wrong in itself, which is said of it.
        return included
    prices = [name for name in ("member_percent_off", "member_amount_off") if own.get(name)]
    places = own.get("member_places")
    paid = [*prices]
    paid += [name for name, n in (("member_places", places), ("included_places", included)) if n]
    problem = None
    if own.get("donation") and paid:
        problem = paid[0], "must be left out: a donation comes without tickets and lower prices"
    elif len(prices) > 1:
        problem = prices[1], f"must be left out, as {prices[0]} is there"
    elif prices and not places:
        text = f"is missing: for how many tickets of an event {prices[0]} counts"
        problem = "member_places", text
    elif places and not prices:
        problem = "member_places", "needs member_percent_off or member_amount_off"
    if problem:
        raise PydanticCustomError("benefits", problem[1], {"field": problem[0]})
    return included


def _moment(value: Any, info: ValidationInfo) -> datetime:
    context = _context(info)
    return parse_local(_written(value), context.zone, context.now)


def _check_sale(ends: datetime | None, info: ValidationInfo) -> datetime | None:
    """Check when the sale begins and `ends`; what a ticket type leaves out is its event's."""
    own = info.data
    event = _context(info).event or own
    starts, over = own.get("sale_starts_at"), event.get("ends_at")
    if not starts and not ends:
        return ends
    if "sale_starts_at" in own:
        starts = starts or event.get("sale_starts_at")
    until = ends or event.get("sale_ends_at")
    problem = None
    if ends and over and ends > over:
        problem = "must not be after the event's ends_at"
    elif starts and until and until <= starts:
        problem = "the sale must end after it starts"
    elif starts and not until and over and over <= starts:
        problem = "the sale must start before the event's ends_at"
    if problem:
        field = "sale_ends_at" if ends else "sale_starts_at"
        raise PydanticCustomError("sale", problem, {"field": field})
    return ends


Moment = Annotated[datetime, PlainValidator(_moment)]
Capacity = Annotated[int, _whole_number(0, 1_000_000)]
# Checked also when it is left out: the validator looks at the whole sale.
SaleEnd = Annotated[Moment | None, AfterValidator(_check_sale), Field(validate_default=True)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TicketTypeData(_Row):
    """A ticket type of a file: price in minor units, times in UTC."""

    name: Annotated[str, _text(120), AfterValidator(_unique)]
    key: Annotated[str, _text(80), AfterValidator(_slug), AfterValidator(_unique)] | None = None
    price: Annotated[int, PlainValidator(_price)]
    description: Annotated[str, _text(500, required=False)] = ""
    capacity: Capacity | None = None
    sale_starts_at: Moment | None = None
    sale_ends_at: SaleEnd = None


class EventData(_Row):
    """An event of a file, its ticket types in order; times in UTC, currency in lower case."""

    slug: Annotated[str, _text(80), AfterValidator(_slug), AfterValidator(_unique)]
    title: Annotated[str, _text(200)]
    status: Annotated[str, _one_of(tuple(EventStatus))]
    language: Annotated[str, _one_of(LOCALES)]
    starts_at: Moment
    ends_at: Moment
    time_zone: Annotated[str, PlainValidator(_time_zone)]
    online: Annotated[bool, PlainValidator(_yes_or_no)] = False
    venue: Annotated[str, _place(200), Field(validate_default=True)] = ""
    address: Annotated[str, _place(300), Field(validate_default=True)] = ""
    city: Annotated[str, _place(120), Field(validate_default=True)] = ""
    currency: Annotated[str, PlainValidator(_currency)]
    max_per_order: Annotated[int, _whole_number(1, 50)]
    max_per_buyer: Annotated[int, _whole_number(1, 1000)] | None = None
    confirm_email: Annotated[bool, PlainValidator(_yes_or_no)] = False
    capacity: Capacity | None = None
    sale_starts_at: Moment | None = None
    sale_ends_at: SaleEnd = None
    image_url: Annotated[str, _text(500), AfterValidator(_https_url)] | None = None
    description: Annotated[str, _text(20_000, required=False, multiline=True)] = ""
    ticket_types: list[TicketTypeData]

    @model_validator(mode="before")
    @classmethod
    def _begin(cls, row: Any, info: ValidationInfo) -> Any:
        """The zone is looked up first: it comes after the times that need it."""
        name = str(row.get("time_zone")) if isinstance(row, dict) else ""
        context = _context(info)
        context.zone = ZoneInfo(name) if name in _time_zones() else None
        context.event = {}
        return row

    @field_validator("ends_at")
    @classmethod
    def _check_end(cls, ends: datetime, info: ValidationInfo) -> datetime:
        if "starts_at" in info.data and ends <= info.data["starts_at"]:
            raise ValueError("must be after starts_at")
        return ends

    @field_validator("ticket_types", mode="before")
    @classmethod
    def _begin_ticket_types(cls, rows: Any, info: ValidationInfo) -> Any:
        """They are checked with what they have from their event."""
        context = _context(info)
        context.event = info.data
        context.used |= {"name": set(), "key": set()}
        return rows


class PlanData(_Row):
    """A plan of a file: amounts in minor units, currency in lower case."""

    slug: Annotated[str, _text(80), AfterValidator(_slug), AfterValidator(_unique)]
    family: Annotated[str, _text(80), AfterValidator(_slug)]
    names: Annotated[dict[str, str], PlainValidator(_names)]
    status: Annotated[str, _one_of(tuple(PlanStatus))]
    currency: Annotated[str, PlainValidator(_currency)]
    price: Annotated[int, PlainValidator(_price), AfterValidator(_not_free)]
    interval: Annotated[str, _one_of(tuple(PlanInterval))]
    donation: Annotated[bool, PlainValidator(_yes_or_no)] = False
    presale_days: Annotated[int, _whole_number(0, 365)] = 0
    member_percent_off: Annotated[int, _whole_number(1, 100)] | None = None
    member_amount_off: Annotated[int, PlainValidator(_amount_off)] | None = None
    member_places: Annotated[int, _whole_number(0, 50)] = 0
    # The last one, checked also when it is left out: it looks at the others.
    included_places: Annotated[
        int, _whole_number(0, 1000), AfterValidator(_check_benefits), Field(validate_default=True)
    ] = 0

    @field_validator("price", mode="before")
    @classmethod
    def _begin_price(cls, value: Any, info: ValidationInfo) -> Any:
        """It is checked in the plan's own currency."""
        _context(info).event = info.data
        return value


class Catalogue(_Row):
    """A whole file: events, plans or both."""

    events: list[EventData]
    plans: list[PlanData] = []

    @model_validator(mode="before")
    @classmethod
    def _begin(cls, root: Any) -> Any:
        """Only a file with plans need not have events."""
        has_plans = isinstance(root, dict) and "plans" in root
        return {"events": []} | root if has_plans else root

    @field_validator("plans", mode="before")
    @classmethod
    def _begin_plans(cls, rows: Any, info: ValidationInfo) -> Any:
        _context(info).used["slug"] = set()
        return rows


def read_catalogue(text: str, source: str, now: datetime | None = None) -> Catalogue:
    """What a catalogue file says, checked; `source` names the file in errors.

    Relative times count from `now`, the present moment if left out. Raises `CatalogueError` with
    every error of the file, each as `source:line: field: what is wrong`.
    """
    document = read_yaml(text)
    catalogue = Catalogue(events=[])
    if document.lines:
        try:
            context = ParseContext(now or datetime.now(UTC))
            catalogue = Catalogue.model_validate(document.root, context=context)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False):
                place, message = _explain(error)
                line = document.lines.get(place) or document.lines[place[:-1]]
                document.errors.append((line, place, message))
    if document.errors:
        document.errors.sort(key=lambda error: error[0])
        lines = []
        for line, place, message in document.errors:
            path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
            lines.append(": ".join(filter(None, (f"{source}:{line}", path[1:], message))))
        raise CatalogueError(lines)
    return catalogue


def _explain(error: ErrorDetails) -> tuple[Place, str]:
    """Where and what, in words for people who know neither pydantic nor Python."""
    place, context = error["loc"], error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return place, str(context["error"])
        case "missing":
            return place, "is missing"
        case "extra_forbidden":
            row = PlanData if place[0] == "plans" else EventData
            model = (Catalogue, row, TicketTypeData)[len(place) // 2]
            return place, f"unknown field; known here: {', '.join(model.model_fields)}"
        case "list_type":
            return place, "must be a list, each item beginning with '- '"
        case "model_type":
            fields = "must be fields with values, such as 'name: ...'"
            return place, fields if place else "must begin with 'events:' or 'plans:'"
        case _:
            return (*place[:-1], context.get("field", place[-1])), error["msg"]
