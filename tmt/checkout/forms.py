"""The forms of the checkout: what the browser posts, checked, and what is wrong with it.

Nothing from the browser is trusted: prices are only compared with those that the page showed, and
every quantity is checked again against the event as it is when the order is placed. CSRF tokens
are checked for every POST request of the shop, by `tmt.web.csrf`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, IntegerField, StringField, TextAreaField, ValidationError

from tmt.catalog.listing import Offer, SaleState
from tmt.core import i18n
from tmt.core.email_address import clean_pasted, parse_email, suggest_email
from tmt.core.i18n import gettext as _
from tmt.core.i18n import ngettext
from tmt.core.ids import is_token

_NAME_LENGTH = 120
# What mail programs make a link of: a name that carries one would send it to people in our mails.
_ADDRESS = re.compile(
    r"[@\u3002]|://|\b(?:https?|mailto|tel|javascript):|\bwww\.|\d\.\d{1,3}\.\d{1,3}\.\d"
    r"|\w\.(com|net|org|info|biz|io|ru|xyz|top|shop|site|online|link|app|click|dev)\b"
    r"|\w\.[a-z]{2,}/|\w\.xn--",
    re.IGNORECASE,
)
# Words with a dot and no space between them: "evil.es", but also "Dr.Ana".
_DOTTED = re.compile(r"(\w{2,40})\.(?=([^\W\d_]{2,})(?!\w))")
_TITLES = frozenset(
    """
    dr dra drs sr sra srta mr mrs ms mx prof profa ing lic arq abg st sta sto ste jr fr hno hna rev
    hon mag dipl pbro mons gral cnel capt col gen lt sgt ma fco mme mlle
    """.split()
)
_MAX_HOLDERS = 100
# Longer input is not shown again.
_SHOWN_LENGTH = 300
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class CheckoutRequest:
    """What a buyer wants to reserve: tickets per ticket type id, and who the buyer is.

    `shown_prices` are the unit prices (minor units) that the page showed, -1 for none; `holders`
    are the names to print on the tickets, at most as many as tickets.
    """

    checkout_token: str
    quantities: Mapping[int, int]
    shown_prices: Mapping[int, int]
    holders: Mapping[int, Sequence[str]]
    name: str
    email: str


class EmailForm(FlaskForm):
    """A form with an e-mail address, its texts in the current locale."""

    class Meta:
        # `tmt.web.csrf` has checked the token before the view runs.
        csrf = False

        def get_translations(self, _form: Any) -> Any:
            return i18n

    email = StringField()
    email_as_typed = HiddenField()
    # An address that looks mistyped: the page sends it along, so that the next time it is accepted.
    unusual_email = ""
    # An error that belongs to no field.
    problem: str | None = None

    def input(self, name: str, default: str = "") -> str:
        """The text that was typed into a field, to show it again; `default` before that."""
        values = self[name].raw_data if name in self else None
        return str(values[0])[:_SHOWN_LENGTH] if values else default

    def validate_email(self, field: Field) -> None:
        text = clean_pasted(field.data or "")
        if not text:
            raise ValidationError(_("Please enter your email address."))
        try:
            field.data = parse_email(text)
        except ValueError:
            raise ValidationError(
                _("Please enter a complete email address, such as ana@example.com.")
            ) from None
        suggestion = suggest_email(field.data)
        if suggestion and self.email_as_typed.data != field.data:
            # Sent again as it is, it counts: the domain may be right.
            self.unusual_email = field.data
            raise ValidationError(
                _("Did you mean %(email)s? Correct the address, or send it again if it is right.")
                % {"email": suggestion}
            )


class QuantityField(IntegerField):
    """How many tickets of an offer; an empty field is none."""

    def __init__(self, offer: Offer, **options: Any) -> None:
        super().__init__(default=0, **options)
        self.offer = offer

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        self.data = _whole_number(valuelist[0].strip() or "0") if valuelist else 0
        if self.data < 0:
            raise ValueError(_("Please enter a whole number, 0 or more."))

    def pre_validate(self, form: Any) -> None:
        if self.data <= 0:
            return
        if self.offer.max == 0:
            raise ValidationError(
                _("Sorry, these tickets are no longer available.")
                if self.offer.state == SaleState.SOLD_OUT
                else _("These tickets are not on sale right now.")
            )
        if self.data > self.offer.max:
            message = ngettext(
                "You can choose up to %(num)d ticket here.",
                "You can choose up to %(num)d tickets here.",
                self.offer.max,
            )
            raise ValidationError(message % {"num": self.offer.max})


class HoldersField(Field):
    """The names on the tickets of an offer: as many inputs as tickets."""

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        self.data = valuelist


class CheckoutForm(EmailForm):
    """The form on an event's page; `checkout_form` adds the fields of each offer."""

    name = StringField()
    checkout_token = HiddenField()
    offers: Sequence[Offer] = ()
    max_per_order = 0

    @property
    def errors(self) -> dict[str, Sequence[str]]:
        """The errors by the id of the element that they belong to, in the page's order."""
        errors = {field.name: field.errors for field in self._quantity_fields()}
        errors |= {"quantities": self.form_errors}
        errors |= {"name": self.name.errors, "email": self.email.errors}
        return {name: messages for name, messages in errors.items() if messages}

    def validate(self, extra_validators: Any = None) -> bool:
        """Whether the form can become an order; if not, `errors` or `problem` says why."""
        is_valid = super().validate(extra_validators)
        if not any(field.errors for field in self._quantity_fields()):
            self._validate_sum()
        holders = [name for offer in self.offers for name in self.holders(offer.id)]
        if any(map(_carries_address, holders)):
            self.problem = _("Please enter names on the tickets without a web or email address.")
        if not is_token(self.checkout_token.data or ""):
            self.problem = _("This page has expired. Please choose your tickets again.")
        return is_valid and not self.form_errors and not self.problem

    def validate_name(self, field: Field) -> None:
        field.data = _one_line(field.data or "")
        if not field.data:
            raise ValidationError(_("Please enter your name."))
        if len(field.data) > _NAME_LENGTH:
            raise ValidationError(_("This name is too long: the maximum is 120 characters."))
        if _carries_address(field.data):
            raise ValidationError(_("Please enter a name without a web or email address."))

    def holders(self, type_id: int) -> list[str]:
        """The names that were typed for the tickets of a type."""
        if f"holder-{type_id}" not in self:
            return []
        lines = (self[f"holders-{type_id}"].data or "").splitlines()
        names = self[f"holder-{type_id}"].data or lines
        return [name[:_NAME_LENGTH] for name in names[:_MAX_HOLDERS]]

    @property
    def has_holders(self) -> bool:
        """Whether a name for a ticket was typed."""
        return any(any(self.holders(offer.id)) for offer in self.offers)

    def to_request(self) -> CheckoutRequest:
        """What the buyer wants; only for a valid form."""
        quantities = {f.offer.id: f.data for f in self._quantity_fields() if f.data}
        return CheckoutRequest(
            checkout_token=self.checkout_token.data,
            quantities=quantities,
            shown_prices={t: _whole_number(self.input(f"shown_price-{t}")) for t in quantities},
            holders={
                t: [_one_line(name) for name in self.holders(t)[:count]]
                for t, count in quantities.items()
            },
            name=self.name.data,
            email=self.email.data,
        )

    def _quantity_fields(self) -> list[QuantityField]:
        return [self[f"quantity-{offer.id}"] for offer in self.offers]

    def _validate_sum(self) -> None:
        count = sum(field.data for field in self._quantity_fields())
        if not count:
            self.form_errors.append(_("Please choose at least one ticket."))
        elif count > self.max_per_order:
            message = ngettext(
                "You can buy %(num)d ticket per order.",
                "You can buy up to %(num)d tickets per order.",
                self.max_per_order,
            )
            self.form_errors.append(message % {"num": self.max_per_order})


def checkout_form(
    offers: Sequence[Offer], max_per_order: int, posted: Mapping[str, str] | None = None
) -> CheckoutForm:
    """The form for these offers, empty or as it was posted (a werkzeug MultiDict)."""
    fields: dict[str, Any] = {}
    for offer in offers:
        fields[f"quantity-{offer.id}"] = QuantityField(offer)
        fields[f"shown_price-{offer.id}"] = HiddenField()
        # Without JavaScript the names are the lines of one text area.
        fields[f"holder-{offer.id}"] = HoldersField()
        fields[f"holders-{offer.id}"] = TextAreaField()
    limits = {"offers": offers, "max_per_order": max_per_order}
    form: CheckoutForm = type("OffersForm", (CheckoutForm,), fields | limits)(posted)
    return form


def _whole_number(text: str) -> int:
    """A whole number of at most twelve ASCII digits, or -1."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else -1


def _one_line(text: str) -> str:
    """The text without invisible characters, on one line.

    Joiners between two letters stay: Persian and the scripts of India are misspelt without them.
    """
    letters = []
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        category = unicodedata.category(character)
        joins = character in _JOINERS and _is_letter(before) and _is_letter(after)
        if category == "Cc":
            letters.append(" ")
        elif joins or not category.startswith("C"):
            letters.append(character)
    return " ".join("".join(letters).split())


def _carries_address(name: str) -> bool:
    """Whether a mail program might make a link of a part of the name, as it will be stored.

    Some do so with letters of other widths and with invisible characters, which count for nothing.
    """
    text = "".join(
        character
        for character in unicodedata.normalize("NFKC", _one_line(name))
        if character not in _JOINERS and unicodedata.category(character) != "Mn"
    )
    return _ADDRESS.search(text) is not None or any(
        before.lower() not in _TITLES or after[0].islower()
        for before, after in _DOTTED.findall(text)
    )


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
