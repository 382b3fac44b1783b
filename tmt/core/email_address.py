"""E-mail addresses: what is one, how mail servers write it, and what makes two of them the same."""

from __future__ import annotations

import re
import unicodedata

import idna
from email_validator import validate_email

_MAX_LENGTH = 254
# Where most buyers have their mail.
_PROVIDERS = (
    "gmail.com hotmail.com hotmail.es outlook.com outlook.es yahoo.com yahoo.es yahoo.com.mx"
    " yahoo.com.ar icloud.com live.com googlemail.com proton.me protonmail.com telefonica.net"
    " hotmail.co.uk yahoo.co.uk"
).split()
# Real domains that look like a slip of one of them; first their own in other countries.
_COUNTRIES = {
    "yahoo": (
        "at be ca ch cl cn co.id co.in co.jp co.kr co.nz co.th co.za com.au com.br com.co"
        " com.hk com.my com.pe com.ph com.sg com.tr com.tw com.ve com.vn cz de dk fi fr gr"
        " hu ie in it nl no pl pt ro se"
    ),
    "hotmail": (
        "at be ca ch cl co.il co.jp co.nz co.th co.za com.ar com.au com.br com.mx com.tr"
        " de dk fi fr gr it nl no pt se"
    ),
    "outlook": (
        "at be cl co.id co.il co.nz co.th com.ar com.au com.br com.gr com.tr com.vn cz de"
        " dk fr hu ie in it jp kr lv my ph pt ro sa se sg sk"
    ),
    "live": (
        "at be ca cl cn co.kr co.uk co.za com.ar com.au com.mx com.my com.ph com.pt"
        " com.sg de dk fi fr hk ie in it jp nl no ru se"
    ),
}
_LIKE_PROVIDERS = {
    f"{name}.{country}" for name, countries in _COUNTRIES.items() for country in countries.split()
} | {"ymail.com", "email.com", "mail.com", "live.co", "love.com", "gmx.com"}
_GMAIL = ("gmail.com", "googlemail.com")

# Longer text is not looked through for an address.
_MAX_PASTED = 1000
_AT_SIGNS = str.maketrans("＠﹫", "@@")
_AROUND = " \t\xa0,;.:<>()[]\"'“”‘’«»"
_REMARK = re.compile(r"\([^()@]*\)")
_IN_BRACKETS = re.compile(r"[<(\[]([^<>()\[\]]*@[^<>()\[\]]*)[>)\]]")
_LABEL = re.compile(r"([^@:]{1,40}:\s+)?(mailto:|e-?mail:|[^@:]{1,40}:\s+)", re.IGNORECASE)


def parse_email(text: str) -> str:
    """The address in its usual form; `ValueError` where it cannot be reached from anywhere."""
    return validate_email(text, check_deliverability=False, allow_smtputf8=False).normalized


def clean_pasted(text: str) -> str:
    """The address in what a buyer pasted: "Ana <ana@example.com>," or "Email: ana@example.com".

    Of two addresses neither is chosen: the text is returned, which is none.
    """
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf").translate(_AT_SIGNS)
    visible = visible.strip()
    if len(visible) > _MAX_PASTED:
        return visible
    visible = _REMARK.sub("", visible)
    parts = [_IN_BRACKETS.sub(" ", visible), *_IN_BRACKETS.findall(visible)]
    addresses = {bare.lower(): bare for part in parts if "@" in (bare := _bare(part))}
    return addresses.popitem()[1] if len(addresses) == 1 else visible.strip(_AROUND)


def _bare(text: str) -> str:
    """The text without quotation marks, a label before it, and what a mailto link adds."""
    text = text.strip(_AROUND)
    label = _LABEL.match(text)
    if label:
        text = text[label.end() :]
        if label[0].lower().endswith("mailto:"):
            text = text.partition("?")[0]
    return text.strip(_AROUND)


def suggest_email(email: str) -> str | None:
    """The address with the provider's domain that this one seems to be meant for.

    'ana@gmial.com' is one slip of the keyboard away from 'ana@gmail.com'. None if the domain is a
    provider's itself, or like none.
    """
    local_part, _, domain = email.rpartition("@")
    domain = domain.lower()
    if domain in _PROVIDERS or domain in _LIKE_PROVIDERS:
        return None
    # Gmail has no other domains.
    if domain.startswith("gmail."):
        return f"{local_part}@gmail.com"
    for provider in _PROVIDERS:
        if _is_one_slip(domain, provider):
            return f"{local_part}@{provider}"
    return None


def ascii_email(text: str) -> str:
    """The address in the ASCII form that every mail server takes (RFC 3490); else `ValueError`.

    The domain may also be a name of the local network: a shop's own mail server can be at
    localhost or at mail.local, which `parse_email` refuses to buyers.
    """
    local_part, _, domain = text.rpartition("@")
    parsed = validate_email(
        f"{local_part}@example.org", check_deliverability=False, allow_smtputf8=False
    )
    return f"{parsed.ascii_local_part}@{_ascii_domain(domain)}"


def email_key(email: str) -> str:
    """What addresses are compared by: neither case nor a domain's script makes another buyer."""
    local_part, _, domain = unicodedata.normalize("NFKC", email).rpartition("@")
    try:
        domain = _ascii_domain(domain)
    except ValueError:
        domain = domain.lower()
    return f"{local_part.lower()}@{domain}"[:_MAX_LENGTH]


def _is_one_slip(typed: str, provider: str) -> bool:
    """Whether one letter is missing, too many, another one, or two neighbours are swapped."""
    shared = 0
    while shared < min(len(typed), len(provider)) and typed[shared] == provider[shared]:
        shared += 1
    typed, provider = typed[shared:], provider[shared:]
    return provider != typed and (
        typed[1:] == provider
        or typed == provider[1:]
        or typed[1:] == provider[1:]
        or (typed[1::-1] == provider[:2] and len(provider) > 1 and typed[2:] == provider[2:])
    )


def buyer_email(email: str) -> str:
    """What counts as one buyer's addresses: also without what follows a plus sign.

    At Gmail dots make no other address either. Only for counting: elsewhere a plus sign may well
    be another person's, so that nobody may be sent what belongs to such an address.
    """
    local_part, _, domain = email_key(email).rpartition("@")
    local_part = local_part.partition("+")[0] or local_part
    if domain in _GMAIL:
        local_part, domain = local_part.replace(".", ""), "gmail.com"
    return f"{local_part}@{domain}"


def _ascii_domain(domain: str) -> str:
    # IDNA 2008 (UTS 46). Python's own codec follows the older rules, by which straße.de is
    # another domain.
    return idna.encode(domain, uts46=True).decode()
