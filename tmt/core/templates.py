"""What every template can use, in pages and in mails: texts, amounts and times of the locale."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tmt.core import i18n
from tmt.core.money import format_money

TEMPLATES = Path(__file__).parent.parent.parent / "templates"


def prepare(environment: Environment) -> None:
    """Adds translations and filters to a Jinja environment; they follow the current locale."""
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        i18n.gettext, i18n.ngettext, newstyle=True
    )
    environment.filters.update(
        money=format_money,
        datetime=i18n.format_datetime,
        date=i18n.format_date,
        time=i18n.format_time,
        day=lambda moment, zone: i18n.format_part(moment, zone, "d"),
        month=lambda moment, zone: i18n.format_part(moment, zone, "MMM").rstrip("."),
        weekday=lambda moment, zone: i18n.format_part(moment, zone, "EEE").rstrip("."),
        iso=datetime.isoformat,
    )


def mail_environment() -> Environment:
    """The environment for mails, which are written far from any request."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    prepare(environment)
    return environment
