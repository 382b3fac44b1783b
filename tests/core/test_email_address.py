"""E-mail addresses: which are valid for whom, and which are the same."""

from __future__ import annotations

import pytest

from tmt.core.email_address import ascii_email, clean_pasted, email_key, parse_email, suggest_email


def test_case_and_width_make_no_other_address() -> None:
    assert email_key("Ana@Example.COM") == email_key("ana@example.com")
    assert email_key("ＡＮＡ@example.com") == email_key("ana@example.com")


def test_domains_are_compared_by_idna() -> None:
    assert email_key("ana@MÜNCHEN.example") == email_key("ana@xn--mnchen-3ya.example")
    assert email_key("ana@straße.example") != email_key("ana@strasse.example")


@pytest.mark.parametrize("text", ["", "@", "ana", "ana@", "@example.com", "ana@exa mple"])
def test_what_is_no_address_has_a_key_too(text: str) -> None:
    assert email_key(text) == email_key(text.upper())


@pytest.mark.parametrize("address", ["root@localhost", "office@mail.local", "shop@mail.test"])
def test_only_the_shops_own_addresses_may_be_local(address: str) -> None:
    assert ascii_email(address) == address
    with pytest.raises(ValueError, match="@-sign"):
        parse_email(address)


def test_a_buyers_address_is_put_into_its_usual_form() -> None:
    assert parse_email("Ana@EXAMPLE.com") == "Ana@example.com"
    assert parse_email("ana@xn--mnchen-3ya.example") == "ana@münchen.example"
    assert ascii_email("ana@münchen.example") == "ana@xn--mnchen-3ya.example"


@pytest.mark.parametrize(
    "text",
    [
        "Ana Ejemplo <ana@example.com>",
        " <ana@example.com>, ",
        "mailto:ana@example.com?subject=hola",
        "\u202aana@example.com\u202c\r\n",
        "“ana@example.com”;",
        "ana@exa\u00admple.com.",
        "Email: ana@example.com",
        "Correo electrónico: mailto:ana@example.com?subject=a",
        "ana@example.com (work)",
        "Ana [mailto:ana@example.com]",
        "ANA@example.com <ana@example.com>",
        "ana＠example.com",
    ],
)
def test_what_is_pasted_along_is_dropped(text: str) -> None:
    assert clean_pasted(text) == "ana@example.com"


@pytest.mark.parametrize("text", ["ana@exa mple.com", "a@b.com b@c.com", "<", "o'neil@example.com"])
def test_an_address_itself_is_not_changed(text: str) -> None:
    assert clean_pasted(text) == text.strip("<")


@pytest.mark.parametrize(
    "text",
    ["a@b.com <b@c.com>", "A <a@b.com>, B <b@c.com>", "a@b.com, b@c.com", "a@b.com(b@c.com)"],
)
def test_of_two_addresses_neither_is_taken(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_email(clean_pasted(text))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("GNAIL.com", "gmail.com"),
        ("hotmal.com", "hotmail.com"),
        ("outlook.ess", "outlook.es"),
        ("yaho.com.mx", "yahoo.com.mx"),
        ("gmail.es", "gmail.com"),
        ("gmail.com.mx", "gmail.com"),
        ("yahoo.com.br", None),
        ("yahoo.com.au", None),
        ("hotmail.se", None),
        ("yahoo.se", None),
        ("ymail.com", None),
        ("gmail.com", None),
        ("gmx.de", None),
        ("example.com", None),
        ("mail.example.org", None),
    ],
)
def test_a_provider_that_was_mistyped_is_suggested(typed: str, meant: str | None) -> None:
    assert suggest_email(f"Ana@{typed}") == (meant and f"Ana@{meant}")
