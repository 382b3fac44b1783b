"""Security headers: what browsers may do with the shop's pages, and which scripts they run."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, g, request
from flask.wrappers import Response

from tmt.config import Settings
from tmt.core.ids import new_token


def init_app(app: Flask, settings: Settings) -> None:
    """Adds security headers to every response; the constant ones are built once."""
    policy = _content_security_policy(settings)
    payment = urlsplit(settings.stripe_js_url)
    fixed = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        # Not "same-origin": banks and wallets open windows that answer the page.
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Permissions-Policy": f'payment=(self "{payment.scheme}://{payment.netloc}")',
    }
    https_shop = settings.base_url.startswith("https://")

    def add(response: Response) -> Response:
        for name, value in fixed.items():
            response.headers.setdefault(name, value)
        if "Content-Security-Policy" not in response.headers:
            nonce = g.get("csp_nonce")
            allowed = f"script-src 'nonce-{nonce}' " if nonce else "script-src "
            response.headers["Content-Security-Policy"] = allowed + policy
        if "token" in (request.view_args or {}):
            response.headers["X-Robots-Tag"] = "noindex, nofollow"
        if https_shop and request.is_secure:
            response.headers["Strict-Transport-Security"] = settings.hsts
        return response

    app.after_request(add)


def _content_security_policy(settings: Settings) -> str:
    """The policy, without the page's nonce: nothing inline, and the origins of Stripe and Link.

    https://docs.stripe.com/security/guide lists them. A server at STRIPE_API_BASE has only one.
    """
    scripts = "https://js.stripe.com https://*.js.stripe.com"
    link = "https://link.com https://*.link.com"
    frames = f"{scripts} https://hooks.stripe.com {link}"
    calls = f"https://api.stripe.com {link}"
    if settings.stripe_api_base:
        scripts = frames = calls = _csp_source(settings)
    return (
        f"{scripts}; frame-src {frames}; connect-src 'self' {calls}; default-src 'none';"
        " style-src 'self'; img-src 'self' data: https:; font-src 'self'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    )


def _csp_source(settings: Settings) -> str:
    """STRIPE_API_BASE as a policy can name it."""
    parts, shop_parts = urlsplit(settings.stripe_api_base), urlsplit(settings.base_url)
    if ":" not in str(parts.hostname):
        return f"{parts.scheme}://{parts.netloc}"
    # The grammar of policies has no IPv6 addresses; only without live keys is it ever one.
    is_own = (parts.scheme, parts.netloc) == (shop_parts.scheme, shop_parts.netloc)
    return "'self'" if is_own else f"{parts.scheme}:"


def csp_nonce() -> str:
    """The nonce that scripts of this page carry; a script without it does not run."""
    if "csp_nonce" not in g:
        g.csp_nonce = new_token()
    return str(g.csp_nonce)
