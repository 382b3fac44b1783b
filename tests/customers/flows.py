"""What a customer does: asks for a link, opens it, clicks its button."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import requests

from tests.shopfront import Shopfront, ShopfrontBuyer

_LINK = re.compile(r"(/sign-in/|/account/email/)([\w-]{22})")


def mailed_links(front: Shopfront) -> list[tuple[str, str]]:
    """Sends what is to be sent; all links to customers, as recipient and path, the oldest first."""
    front.run_jobs()
    return links_in_mails(front)


def links_in_mails(front: Shopfront) -> list[tuple[str, str]]:
    """The same of the mails that were sent so far."""
    links = []
    for path in sorted(front.mails(), key=lambda path: path.stat().st_mtime_ns):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        if link := _LINK.search(body.get_content() if body else ""):
            links.append((str(mail["To"]), link[0]))
    return links


def submit(buyer: ShopfrontBuyer, page: str, path: str, **fields: str) -> requests.Response:
    """Posts a form of the page; does not follow the redirect."""
    data = {"csrf_token": buyer.csrf_token(page)} | fields
    return buyer.post(path, data, allow_redirects=False)


def ask_for_link(buyer: ShopfrontBuyer, email: str = "") -> requests.Response:
    return submit(buyer, "/sign-in", "/sign-in", email=email or buyer.email)


def use(buyer: ShopfrontBuyer, link: str) -> requests.Response:
    """Opens the link and clicks its button."""
    return submit(buyer, link, link)


def signed_in(front: Shopfront, email: str = "ana@example.com") -> ShopfrontBuyer:
    """A browser in which the customer with this address is signed in."""
    buyer = front.buyer(email=email)
    ask_for_link(buyer)
    answer = use(buyer, mailed_links(front)[-1][1])
    assert answer.headers["Location"].endswith("/account"), answer.text
    return buyer


def is_signed_in(buyer: ShopfrontBuyer) -> bool:
    return buyer.get("/account", allow_redirects=False).status_code == 200


def signed_in_again(front: Shopfront, email: str) -> ShopfrontBuyer:
    """The same where answers get lost: who gets no session asks for another link."""
    buyer = front.buyer(email=email)
    while not is_signed_in(buyer):
        ask_for_link(buyer, email)
        use(buyer, mailed_links(front)[-1][1])
    return buyer
