"""The forms of the checkout: what the browser posts, checked, and what is wrong with it.

Nothing from the browser is trusted: prices are only compared with those that the page showed, and
every quantity is checked again against the event as it is when the order is placed. CSRF tokens
are checked for every POST request of the shop, by `tmt.web.csrf`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wtforms import Field, HiddenField, IntegerField, TextAreaField, ValidationError

from tmt.catalog.listing import Offer, SaleState
from tmt.core.i18n import gettext as _
from tmt.core.i18n import ngettext
from tmt.core.ids import is_token
from tmt.customers.forms import NAME_LENGTH, EmailForm, NameForm, carries_address, one_line
from tmt.customers.models import Customer

_MAX_HOLDERS = 100


@dataclass(frozen=True)
class CheckoutRequest:
    """What a buyer wants to reserve: tickets per ticket type id, and who the buyer is.

    `shown_prices` are the unit prices (minor units) that the page showed, -1 for none, and
    `shown_benefits` is the key of the benefits by which some were lower; `holders` are the names to
    print on the tickets, at most as many as tickets.
    """

    checkout_token: str
    quantities: Mapping[int, int]
    shown_prices: Mapping[int, int]
    holders: Mapping[int, Sequence[str]]
    name: str
    email: str
    shown_benefits: str = ""


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


class CheckoutForm(NameForm, EmailForm):
    """The form on an event's page; `checkout_form` adds the fields of each offer."""

    checkout_token = HiddenField()
    shown_benefits = HiddenField()
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
        if any(map(carries_address, holders)):
            self.problem = _("Please enter names on the tickets without a web or email address.")
        if not is_token(self.checkout_token.data or ""):
            self.problem = _("This page has expired. Please choose your tickets again.")
        return is_valid and not self.form_errors and not self.problem

    def holders(self, type_id: int) -> list[str]:
        """The names that were typed for the tickets of a type."""
        if f"holder-{type_id}" not in self:
            return []
        lines = (self[f"holders-{type_id}"].data or "").splitlines()
        names = self[f"holder-{type_id}"].data or lines
        return [name[:NAME_LENGTH] for name in names[:_MAX_HOLDERS]]

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
                t: [one_line(name) for name in self.holders(t)[:count]]
                for t, count in quantities.items()
            },
            name=self.name.data,
            email=self.email.data,
            shown_benefits=self.shown_benefits.data or "",
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
    offers: Sequence[Offer],
    max_per_order: int,
    posted: Mapping[str, str] | None = None,
    customer: Customer | None = None,
) -> CheckoutForm:
    """The form for these offers, as it was posted (a werkzeug MultiDict), or for a customer."""
    fields: dict[str, Any] = {}
    for offer in offers:
        fields[f"quantity-{offer.id}"] = QuantityField(offer)
        fields[f"shown_price-{offer.id}"] = HiddenField()
        # Without JavaScript the names are the lines of one text area.
        fields[f"holder-{offer.id}"] = HoldersField()
        fields[f"holders-{offer.id}"] = TextAreaField()
    limits = {"offers": offers, "max_per_order": max_per_order}
    person = {"name": customer.name, "email": customer.email} if customer else {}
    form: CheckoutForm = type("OffersForm", (CheckoutForm,), fields | limits)(posted, **person)
    return form


def _whole_number(text: str) -> int:
    """A whole number of at most twelve ASCII digits, or -1."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else -1
