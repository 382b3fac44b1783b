"""The pages of the catalogue: the list, the event, its poster."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from tmt import web
from tmt.catalog import listing
from tmt.catalog.models import folded
from tmt.catalog.poster import draw_poster
from tmt.core.i18n import format_date, use_locale
from tmt.core.i18n import gettext as _

catalog = Blueprint("catalog", __name__)

_POSTER_SECONDS = 300
# Far from the ends of the calendar, where no zone can lead over them.
_YEARS = range(1970, 9000)


@catalog.get("/")
def index() -> ResponseReturnValue:
    shop = web.shop()
    now, few = shop.clock.now(), shop.settings.few_left
    search = _search()
    with shop.db.reading() as session:
        events = listing.upcoming(session, now, search, page=_page_number(), few=few)
        cities = listing.cities(session, now)
    terms = {
        "q": search.q,
        # As the list of cities spells it, however it was typed.
        "city": next((c for c in cities if folded(c) == folded(search.city)), search.city),
        "date": search.date and search.date.isoformat(),
    }
    terms = {name: value for name, value in terms.items() if value}
    return render_template("events/index.html", events=events, cities=cities, search=terms)


@catalog.get("/posters/<slug>.svg")
def poster(slug: str) -> ResponseReturnValue:
    with web.shop().db.reading() as session:
        event = listing.find_event(session, slug)
    with use_locale(event.language):
        place = event.city or (_("Online") if event.online else event.venue)
        line = f"{format_date(event.starts_at, event.time_zone)} · {place}"
    drawing = draw_poster(event.title, event.slug, line=line)
    answer = Response(drawing, mimetype="image/svg+xml")
    answer.cache_control.public = True
    answer.cache_control.max_age = _POSTER_SECONDS
    answer.add_etag()
    return answer.make_conditional(request)


def _search() -> listing.Search:
    text, city = (_printable(request.args.get(name, "")) for name in ("q", "city"))
    day: date | None = None
    with suppress(ValueError):
        day = date.fromisoformat(request.args.get("date", ""))
    if day and day.year not in _YEARS:
        day = None
    return listing.Search(text[:80], city[:120], day)


def _page_number() -> int:
    text = request.args.get("page", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()
