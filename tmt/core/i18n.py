"""Spanish and English, for pages, mails and PDFs alike.

Mails and PDFs are made by jobs, far from any request, so the current locale is a context
variable and Babel is used directly. Message ids are the English texts; `tmt/locale/es.po`
holds the Spanish ones, `tmt/locale/es_419.po` those that Latin America says differently. They are
read as they are: there is no compile step to forget.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from unicodedata import normalize
from zoneinfo import ZoneInfo

from babel import Locale, dates
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES = ("es", "en")
DEFAULT_LOCALE = "es"
# What Babel lists beside countries: unions, places without a post, and codes for tests.
_NO_COUNTRIES = frozenset("EU EZ UN QO XA XB ZZ".split())
CATALOGUES = Path(__file__).parent.parent / "locale"

# Which catalogue is the Spanish of this process; the locale of pages and orders is "es" in both.
_spanish = DEFAULT_LOCALE
_locale: ContextVar[str] = ContextVar("locale", default=DEFAULT_LOCALE)


def current_locale() -> str:
    """The locale that texts, dates and amounts are written in now: one of `LOCALES`."""
    return _locale.get()


def current_catalogue() -> str:
    """The catalogue that messages are taken from now: the locale, or its regional variant."""
    locale = current_locale()
    return _spanish if locale == "es" else locale


def choose_spanish(variant: str) -> None:
    """Sets the Spanish of this process: `es` (Spain) or `es_419` (Latin America).

    Only the wording differs. Dates and amounts are written as in `es` either way.
    """
    global _spanish
    _spanish = variant


def country_names() -> dict[str, str]:
    """Countries by their two-letter codes (ISO 3166), in the order of their names here and now."""
    return _country_names(current_locale())


@cache
def _country_names(locale: str) -> dict[str, str]:
    territories = Locale.parse(locale).territories.items()
    names = {c: n for c, n in territories if len(c) == 2 and c.isalpha() and c not in _NO_COUNTRIES}
    # Without accents, so that none comes after Z.
    return dict(sorted(names.items(), key=lambda item: normalize("NFKD", item[1]).casefold()))


@contextmanager
def use_locale(locale: str) -> Iterator[None]:
    """Within the block, everything is written in this locale (the default one if unknown)."""
    token = _locale.set(locale if locale in LOCALES else DEFAULT_LOCALE)
    try:
        yield
    finally:
        _locale.reset(token)


def gettext(message: str) -> str:
    """The message in the current locale; the English text itself where there is none."""
    return str(_translations(current_catalogue()).gettext(message)) if message else ""


def ngettext(singular: str, plural: str, count: int) -> str:
    """The message in the form that `count` asks for; `%(num)s` is left to the caller."""
    return str(_translations(current_catalogue()).ngettext(singular, plural, count))


def format_datetime(moment: datetime, zone: str) -> str:
    """Long date, time and zone: 'Saturday, December 12, 2026, 9:00 PM CET'."""
    return f"{format_date(moment, zone)}, {format_time(moment, zone)} {zone_name(moment, zone)}"


def format_date(moment: datetime, zone: str) -> str:
    """The long local date: 'sábado, 12 de diciembre de 2026'."""
    return _formatted_date(moment, zone, "full", current_locale())


def format_time(moment: datetime, zone: str) -> str:
    """The local time without seconds: '21:00' or '9:00 PM'."""
    return _formatted_time(moment, zone, current_locale())


def format_part(moment: datetime, zone: str, pattern: str) -> str:
    """One part of the local date by its CLDR pattern: 'd', 'MMM', 'EEE'."""
    return _formatted_date(moment, zone, pattern, current_locale())


def zone_name(moment: datetime, zone: str) -> str:
    """The zone's abbreviation ('CET'), or its offset ('GMT-3') if it has none."""
    name = _local(moment, zone).tzname() or zone
    if name[:1] in "+-":
        return f"GMT{name[0]}{name[1:].lstrip('0') or '0'}"
    return name


# Every page formats the same few times, and Babel is slow.
@lru_cache(maxsize=2048)
def _formatted_date(moment: datetime, zone: str, form: str, locale: str) -> str:
    return dates.format_date(_local(moment, zone), form, locale=locale)


@lru_cache(maxsize=2048)
def _formatted_time(moment: datetime, zone: str, locale: str) -> str:
    return dates.format_time(_local(moment, zone), "short", locale=locale)


def _local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


@cache
def _translations(name: str) -> NullTranslations:
    """The catalogue of this name; what a regional one does not have is its language's."""
    source = CATALOGUES / f"{name}.po"
    if not source.exists():
        return NullTranslations()
    with source.open("rb") as file:
        catalogue = read_po(file, locale=name)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    translations = Translations(compiled)
    language, _, region = name.partition("_")
    if region:
        translations.add_fallback(_translations(language))
    return translations
