"""What all templates of pages and mails can use: texts, amounts and times in the locale."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    pass_eval_context,
    select_autoescape,
)
from jinja2.nodes import EvalContext
from markupsafe import Markup

from tmt.core import i18n
from tmt.core.money import format_money

TEMPLATES = Path(__file__).parent.parent.parent / "templates"


def prepare(environment: Environment) -> None:
    """Adds translations and filters to a Jinja environment; they follow the current locale."""
    environment.globals.update(_=_gettext, ngettext=_ngettext)
    environment.filters.update(
        money=format_money,
        price=_price,
        datetime=i18n.format_datetime,
        date=i18n.format_date,
        time=i18n.format_time,
        day=lambda moment, zone: i18n.format_part(moment, zone, "d"),
        month=lambda moment, zone: i18n.format_part(moment, zone, "MMM").rstrip("."),
        weekday=lambda moment, zone: i18n.format_part(moment, zone, "EEE").rstrip("."),
        iso=datetime.isoformat,
    )


def _price(amount: int, currency: str) -> str:
    """The price (minor units), or that it is free."""
    return format_money(amount, currency) if amount else i18n.gettext("Free")


@pass_eval_context
def _gettext(context: EvalContext, message: str, **values: object) -> str:
    """The message with its values; in HTML it is markup and escapes them."""
    if not context.autoescape:
        return i18n.gettext(message) % values if values else i18n.gettext(message)
    text = _markup(i18n.current_catalogue(), message)
    return text % values if values else text


@pass_eval_context
def _ngettext(context: EvalContext, singular: str, plural: str, num: int, **values: object) -> str:
    """The message in the plural form for `num`, with `%(num)d` and the values."""
    text = i18n.ngettext(singular, plural, num)
    return (Markup(text) if context.autoescape else text) % {"num": num, **values}  # noqa: S704


@lru_cache(maxsize=1024)
def _markup(_catalogue: str, message: str) -> Markup:
    # Messages are the catalogue's own texts, so they need no escaping.
    return Markup(i18n.gettext(message))  # noqa: S704


def mail_environment() -> Environment:
    """The environment for mails, which are rendered outside any request."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    prepare(environment)
    return environment
