"""The checkout form: what the browser posts, checked and made into a request, or into errors.

Nothing from the browser is trusted: prices are only compared with what was shown, and every
quantity is checked again against the event as it stands when the order is placed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from email_validator import EmailNotValidError, validate_email

from tmt.catalog.listing import Offer, SaleState
from tmt.core.i18n import gettext as _
from tmt.core.i18n import ngettext
from tmt.core.ids import is_token
from tmt.core.mail_transport import ascii_domain

_NAME_LENGTH = 120
_EMAIL_LENGTH = 254
_DIGITS = 4
_MOST_HOLDERS = 100


class FormData(Protocol):
    """A posted form, as werkzeug's MultiDict is one."""

    def get(self, key: str, default: str) -> str: ...
    def getlist(self, key: str) -> list[str]: ...


@dataclass(frozen=True)
class CheckoutRequest:
    """What somebody wants to reserve: places per ticket type id, and who they are.

    `shown_prices` are the unit prices (minor units) that the page showed; `holders` the names
    to print on the places, as far as they were given.
    """

    checkout_token: str
    quantities: Mapping[int, int]
    shown_prices: Mapping[int, int]
    holders: Mapping[int, Sequence[str]]
    name: str
    email: str


@dataclass
class FormState:
    """A form as the page shows it again: what was typed, and what is wrong with it."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def holders_given(self) -> bool:
        """Whether a name for a place was typed."""
        return any(any(names) for names in self.values.values() if isinstance(names, list))


def read_checkout(
    posted: FormData, offers: Sequence[Offer], max_per_order: int
) -> tuple[CheckoutRequest | None, FormState]:
    """The request, or None with the errors beside their fields; what was typed in either case."""
    state = FormState(values=_typed(posted, offers))
    quantities = {offer.id: _quantity(posted, offer, state) for offer in offers}
    chosen = {type_id: count for type_id, count in quantities.items() if count}
    _check_sum(chosen, max_per_order, state)
    name = read_name(posted, state)
    email = read_email(posted, state)
    token = posted.get("checkout_token", "")
    if not is_token(token):
        state.problem = _("This page has expired. Please choose your tickets again.")
    if state.errors or state.problem:
        return None, state
    holders = {t: _holders(posted, t, count) for t, count in chosen.items()}
    shown = {t: _number(posted.get(f"shown_price-{t}", "")) for t in chosen}
    return CheckoutRequest(token, chosen, shown, holders, name, email), state


def read_name(posted: FormData, state: FormState) -> str:
    """The buyer's name; an error in `state` when it is missing or too long."""
    name = _clean(posted.get("name", ""))
    if not name:
        state.errors["name"] = _("Please enter your name.")
    elif len(name) > _NAME_LENGTH:
        state.errors["name"] = _("This name is too long: the maximum is 120 characters.")
    return name


def read_email(posted: FormData, state: FormState) -> str:
    """The e-mail address in its usual form; an error in `state` when it is none."""
    typed = posted.get("email", "").strip()
    if not typed:
        state.errors["email"] = _("Please enter your email address.")
        return ""
    try:
        return validate_email(typed, check_deliverability=False, allow_smtputf8=False).normalized
    except EmailNotValidError:
        state.errors["email"] = _("Please enter a complete email address, such as ana@example.com.")
        return ""


def email_key(email: str) -> str:
    """What addresses are compared by: neither case nor a domain's spelling is another buyer."""
    local, _at, domain = unicodedata.normalize("NFKC", email).rpartition("@")
    try:
        return f"{local.lower()}@{ascii_domain(domain)}"[:254]
    except ValueError:
        return f"{local.lower()}@{domain.lower()}"[:254]


def _typed(posted: FormData, offers: Sequence[Offer]) -> dict[str, Any]:
    values: dict[str, Any] = {name: posted.get(name, "")[:300] for name in ("name", "email")}
    for offer in offers:
        values[f"quantity-{offer.id}"] = posted.get(f"quantity-{offer.id}", "")[:_DIGITS]
        values[f"holder-{offer.id}"] = _typed_holders(posted, offer.id)
    return values


def _quantity(posted: FormData, offer: Offer, state: FormState) -> int:
    key = f"quantity-{offer.id}"
    typed = posted.get(key, "").strip()
    if typed in ("", "0"):
        return 0
    count = _number(typed)
    if count < 0:
        state.errors[key] = _("Please enter a whole number, 0 or more.")
    elif offer.max == 0:
        gone = offer.state == SaleState.SOLD_OUT
        state.errors[key] = (
            _("Sorry, these tickets are no longer available.")
            if gone
            else _("These tickets are not on sale right now.")
        )
    elif count > offer.max:
        state.errors[key] = ngettext(
            "You can choose up to %(num)d ticket here.",
            "You can choose up to %(num)d tickets here.",
            offer.max,
        ) % {"num": offer.max}
    return max(count, 0)


def _check_sum(chosen: Mapping[int, int], max_per_order: int, state: FormState) -> None:
    if any(key.startswith("quantity-") for key in state.errors):
        return
    if not chosen:
        state.errors["quantities"] = _("Please choose at least one ticket.")
    elif sum(chosen.values()) > max_per_order:
        state.errors["quantities"] = ngettext(
            "You can buy %(num)d ticket per order.",
            "You can buy up to %(num)d tickets per order.",
            max_per_order,
        ) % {"num": max_per_order}


def _holders(posted: FormData, type_id: int, count: int) -> list[str]:
    return [_clean(holder) for holder in _typed_holders(posted, type_id)[:count]]


def _typed_holders(posted: FormData, type_id: int) -> list[str]:
    """The names on the places: a field for each, or without JavaScript a line for each."""
    typed = posted.getlist(f"holder-{type_id}") or posted.get(f"holders-{type_id}", "").splitlines()
    return [holder[:_NAME_LENGTH] for holder in typed[:_MOST_HOLDERS]]


def _number(text: str) -> int:
    """A whole number of few digits, or -1."""
    plain = text.isascii() and text.isdigit() and len(text) <= 12
    return int(text) if plain else -1


def _clean(text: str) -> str:
    """One line without control characters, blanks folded."""
    visible = "".join(" " if unicodedata.category(c).startswith("C") else c for c in text)
    return " ".join(visible.split())
