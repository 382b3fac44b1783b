"""E-mail addresses: what is one, how mail servers write it, and what makes two of them the same."""

from __future__ import annotations

import unicodedata

import idna
from email_validator import validate_email

_MAX_LENGTH = 254
_GMAIL = ("gmail.com", "googlemail.com")


def parse_email(text: str) -> str:
    """The address in its usual form; `ValueError` where it cannot be reached from anywhere."""
    return validate_email(text, check_deliverability=False, allow_smtputf8=False).normalized


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
