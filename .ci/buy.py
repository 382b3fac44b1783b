"""Buys a ticket in a freshly started shop, as a browser would, with the standard library alone."""

from __future__ import annotations

import http.cookiejar
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE = 300
HIDDEN = re.compile(r'name="(checkout_token|csrf_token|shown_price-\d+)"\s+value="([^"]*)"')

browser = urllib.request.build_opener(
    urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
)


def get(url: str) -> str:
    with browser.open(url, timeout=30) as answer:
        return answer.read().decode("utf-8", "replace")


def post(url: str, fields: dict[str, str]) -> tuple[str, str]:
    """Where the form led, and the page there."""
    with browser.open(url, urllib.parse.urlencode(fields).encode(), timeout=30) as answer:
        return answer.url, answer.read().decode()


def wait_for(url: str) -> float:
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        try:
            get(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return time.monotonic() - started
    raise SystemExit(f"{url} did not answer within {PATIENCE} s")


def buy(root: str) -> str:
    """Buys two places of the first event that has a priced one; the order's address."""
    for slug in dict.fromkeys(re.findall(r'href="/events/([\w-]+)"', get(root))):
        page = get(f"{root}/events/{slug}")
        offer = re.search(r'name="quantity-(\d+)"[^>]*?data-price="([1-9]\d*)"', page, re.DOTALL)
        if offer:
            break
    else:
        raise SystemExit("no event has places to buy")
    fields = dict(HIDDEN.findall(page))
    fields |= {f"quantity-{offer[1]}": "2", "name": "Ana Ejemplo", "email": "ana@example.com"}
    address, page = post(f"{root}/events/{slug}/orders", fields)
    order = address.removesuffix("/pay")
    pay(root, page)
    get(f"{order}/return")
    return order


def pay(root: str, page: str) -> None:
    """Confirms the PaymentIntent with the publishable key, which is what Stripe.js does."""
    key = re.search(r'data-publishable-key="([^"]+)"', page)[1]
    secret = re.search(r'data-client-secret="([^"]+)"', page)[1]
    intent = secret.split("_secret_")[0]
    fields = {"client_secret": secret, "payment_method": "pm_card_visa"}
    request = urllib.request.Request(
        f"{root}/sandbox/v1/payment_intents/{intent}/confirm",
        urllib.parse.urlencode(fields).encode(),
        {"Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["status"] == "succeeded"


def main(root: str) -> None:
    print(f"a page answered after {wait_for(root):.1f} s, installing included")
    order = buy(root)
    tickets = get(order).count("ticket-code")
    with browser.open(f"{order}/tickets.pdf", timeout=30) as answer:
        assert answer.read(5) == b"%PDF-", "no PDF"
    assert tickets == 2, f"{tickets} tickets on the order's page"
    print("two tickets bought")


main(sys.argv[1])
