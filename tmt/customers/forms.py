"""Forms about a person: their e-mail address, their name, their language."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField, ValidationError

from tmt.core import i18n
from tmt.core.email_address import clean_pasted, parse_email, suggest_email
from tmt.core.i18n import gettext as _

NAME_LENGTH = 120
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
# Longer input is not shown again.
_SHOWN_LENGTH = 300
_JOINERS = "\u200c\u200d"


class ShopForm(FlaskForm):
    """A form with its texts in the current locale."""

    class Meta:
        # `tmt.web.csrf` has checked the token before the view runs.
        csrf = False

        def get_translations(self, _form: Any) -> Any:
            return i18n

    # An error that belongs to no field.
    problem: str | None = None

    def input(self, name: str, default: str = "") -> str:
        """The text that was typed into a field, to show it again; what is stored before that."""
        if name not in self:
            return default
        if values := self[name].raw_data:
            return str(values[0])[:_SHOWN_LENGTH]
        data = self[name].data
        return data if data and isinstance(data, str) else default


class EmailForm(ShopForm):
    """A form with an e-mail address."""

    email = StringField()
    email_as_typed = HiddenField()
    # An address that looks mistyped: the page sends it along, so that the next time it is accepted.
    unusual_email = ""

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


class NewEmailForm(EmailForm):
    """A form with another e-mail address than the present one."""

    present = ""

    def validate_email(self, field: Field) -> None:
        super().validate_email(field)
        if field.data == self.present:
            raise ValidationError(_("This is your address already."))


class NameForm(ShopForm):
    """A form with a person's name."""

    name = StringField()

    def validate_name(self, field: Field) -> None:
        field.data = one_line(field.data or "")
        if not field.data:
            raise ValidationError(_("Please enter your name."))
        if len(field.data) > NAME_LENGTH:
            raise ValidationError(_("This name is too long: the maximum is 120 characters."))
        if carries_address(field.data):
            raise ValidationError(_("Please enter a name without a web or email address."))


class DetailsForm(NameForm):
    """What customers change about themselves: the name, and the language of mails."""

    language = StringField()

    def validate_language(self, field: Field) -> None:
        if field.data not in i18n.LOCALES:
            raise ValidationError(_("Please choose one of the languages."))


_TAX_ID = re.compile(r"[A-Z0-9]{4,30}")


class CompanyForm(ShopForm):
    """The company that a customer orders for; all of it empty for none."""

    company = StringField()
    tax_id = StringField()
    street = StringField()
    postal_code = StringField()
    city = StringField()
    country = StringField()

    @property
    def is_empty(self) -> bool:
        """Whether there is no company; a country alone is none."""
        return not any(field.data for field in self if field.name != "country")

    @property
    def details(self) -> dict[str, str]:
        """The columns of a `Company`, of a valid form."""
        return {"name" if f.name == "company" else f.name: f.data for f in self}

    def validate(self, extra_validators: Any = None) -> bool:
        """Whether all of it is complete, or empty."""
        for field in self:
            field.data = one_line(field.data or "")
        self.tax_id.data = re.sub(r"[\s./-]", "", self.tax_id.data).upper()
        return self.is_empty or super().validate(extra_validators)

    def validate_company(self, field: Field) -> None:
        _require(field, 120, _("Please enter the name of the company."))

    def validate_tax_id(self, field: Field) -> None:
        if not _TAX_ID.fullmatch(field.data):
            raise ValidationError(_("Please enter the tax ID in letters and figures."))

    def validate_street(self, field: Field) -> None:
        _require(field, 200, _("Please enter street and number."))

    def validate_postal_code(self, field: Field) -> None:
        _require(field, 20, _("Please enter the postal code."))

    def validate_city(self, field: Field) -> None:
        _require(field, 100, _("Please enter the city."))

    def validate_country(self, field: Field) -> None:
        if field.data not in i18n.country_names():
            raise ValidationError(_("Please choose the country."))


def _require(field: Field, length: int, message: str) -> None:
    if not field.data:
        raise ValidationError(message)
    if len(field.data) > length:
        raise ValidationError(
            _("This is too long: the maximum is %(num)s characters.") % {"num": length}
        )


def one_line(text: str) -> str:
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


def carries_address(name: str) -> bool:
    """Whether a mail program might make a link of a part of the name, as it will be stored.

    Some do so with letters of other widths and with invisible characters, which count for nothing.
    """
    text = "".join(
        character
        for character in unicodedata.normalize("NFKC", one_line(name))
        if character not in _JOINERS and unicodedata.category(character) != "Mn"
    )
    return _ADDRESS.search(text) is not None or any(
        before.lower() not in _TITLES or after[0].islower()
        for before, after in _DOTTED.findall(text)
    )


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"
