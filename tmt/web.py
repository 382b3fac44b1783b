"""The HTTP side of every page: CSRF, security headers, locale, limits, errors, one log line."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import structlog
from flask import Blueprint, Flask, current_app, g, redirect, render_template, request, session
from flask import url_for as flask_url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Response
from flask_wtf.csrf import CSRFProtect, generate_csrf
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from tmt.config import Settings
from tmt.core import i18n, log, metrics
from tmt.core import templates as core_templates
from tmt.core.errors import DomainError, NotFound, RateLimited, Unavailable
from tmt.core.i18n import ngettext
from tmt.core.ids import new_token
from tmt.core.limits import Limits
from tmt.core.mail_transport import Transport
from tmt.shop import Shop

if TYPE_CHECKING:
    # For the type only: views of every package get the gateway from this module, which must not
    # import a package above it.
    from tmt.gateway.stripe_api import Gateway

logger = structlog.get_logger(__name__)
csrf = CSRFProtect()
pages = Blueprint("web", __name__)

# Renders an error in another form than a page, from its status, the error and Retry-After.
ErrorRenderer = Callable[[int, Exception, int | None], ResponseReturnValue]

_EXTENSION = "tmt"
_BODY_LIMIT = 64 * 1024
_YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class AppState:
    """What the views and commands of one application use; set by the factory."""

    shop: Shop
    gateway: Gateway
    mail_transport: Transport
    limits: Limits
    error_renderers: dict[str, ErrorRenderer] = field(default_factory=dict)


def state() -> AppState:
    """The state of the current application."""
    return cast(AppState, current_app.extensions[_EXTENSION])


def shop() -> Shop:
    """The shop that the current application serves."""
    return state().shop


def gateway() -> Gateway:
    """The Stripe account of the current application."""
    return state().gateway


def limits() -> Limits:
    """The rate limits of the current application."""
    return state().limits


def client_address() -> str:
    """The client's address, behind the configured number of trusted proxies; or "unknown".

    For an IPv6 client it is its /64 network: one client has more addresses than limits can count.
    """
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:
        return "unknown"
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def session_name() -> str:
    """An id of the browser's session; it stays the same for as long as its cookie does.

    Only for requests with a valid form: the id is derived from the CSRF token's seed.
    """
    return hashlib.sha256(str(session.get("csrf_token")).encode()).hexdigest()[:32]


def is_local(address: str | None) -> bool:
    """Whether this IP address, of a client or in a URL, or host name is this machine's own."""
    if address == "localhost":
        return True
    try:
        return ip_address(address or "").is_loopback
    except ValueError:
        return False


def init_app(app: Flask, app_state: AppState) -> None:
    """Sets the application up."""
    settings = app_state.shop.settings
    app.extensions[_EXTENSION] = app_state
    i18n.choose_spanish(settings.spanish)
    secure = settings.base_url.startswith("https://")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=_BODY_LIMIT,
        SESSION_COOKIE_NAME="tmt",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=secure,
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops
        )
    if prefix := urlsplit(settings.base_url).path.rstrip("/"):
        app.wsgi_app = _mounted(app.wsgi_app, prefix)  # type: ignore[method-assign]
    _init_headers(app, settings)
    _init_templates(app, settings)
    app.register_blueprint(pages)
    app.before_request(_before_request)
    # After `_before_request`, so that the response to a rejected form has a locale and its log
    # line an id.
    csrf.init_app(app)
    app.after_request(_after_request)
    app.teardown_request(_teardown_request)
    app.register_error_handler(Exception, _on_error)


def set_error_renderer(app: Flask, paths: Iterable[str], renderer: ErrorRenderer) -> None:
    """Renders errors under these paths by `renderer`, those of unknown methods included."""
    for path in paths:
        app.extensions[_EXTENSION].error_renderers[path] = renderer


def _mounted(serve: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    """The application under the path of TMT_BASE_URL, whether or not a proxy takes it off."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :]
        if not environ.get("SCRIPT_NAME"):
            environ["SCRIPT_NAME"] = prefix
        return serve(environ, start_response)

    return answer


def safe_path(target: str) -> str:
    """The target if it is a path of this site, else the front page."""
    front = f"{request.script_root}/"
    try:
        parts = urlsplit(target)
    except ValueError:
        return front
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    printable = target.isprintable() and "\\" not in target
    return target if plain and printable and not parts.netloc and not parts.scheme else front


@pages.get("/language/<code>")
def language(code: str) -> ResponseReturnValue:
    """Stores the language in a cookie and goes back to the page it was chosen on."""
    if code not in i18n.LOCALES:
        raise NotFound("no such language")
    response = redirect(safe_path(request.args.get("next", "")), 303)
    secure = bool(current_app.config["SESSION_COOKIE_SECURE"])
    response.set_cookie(
        "language", code, max_age=_YEAR, httponly=True, samesite="Lax", secure=secure
    )
    return cast(ResponseReturnValue, response)


def _before_request() -> None:
    g.started = time.perf_counter()
    log.clear()
    log.bind(request=new_token()[:12])
    locale = request.cookies.get("language", "")
    if locale not in i18n.LOCALES:
        locale = request.accept_languages.best_match(i18n.LOCALES) or i18n.DEFAULT_LOCALE
    g.locale_block = i18n.use_locale(locale)
    g.locale_block.__enter__()


def _after_request(response: Response) -> Response:
    if request.endpoint != "static" and not response.headers.get("Cache-Control"):
        response.headers["Cache-Control"] = "no-store"
        response.vary.update(("Accept-Language", "Cookie"))
    route = str(request.url_rule) if request.url_rule else "none"
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    metrics.requests.labels(route, request.method, response.status_code).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    # Static files are logged only at the DEBUG level.
    write = logger.debug if request.endpoint == "static" else logger.info
    write(
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        milliseconds=round(seconds * 1000, 1),
    )
    return response


def _teardown_request(_error: BaseException | None) -> None:
    block = g.pop("locale_block", None)
    if block is not None:
        block.__exit__(None, None, None)


def _init_headers(app: Flask, settings: Settings) -> None:
    """Adds security headers to every response; the constant ones are built once."""
    policy = _content_security_policy(settings)
    payment = urlsplit(settings.stripe_js_url)
    fixed = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
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
        if https_shop and request.is_secure:
            response.headers["Strict-Transport-Security"] = f"max-age={_YEAR}; includeSubDomains"
        return response

    app.after_request(add)


def _content_security_policy(settings: Settings) -> str:
    """The policy, without the page's nonce: nothing inline, and Stripe's origins.

    https://docs.stripe.com/security/guide lists them. A server at STRIPE_API_BASE has only one.
    """
    scripts = "https://js.stripe.com https://*.js.stripe.com"
    frames, calls = f"{scripts} https://hooks.stripe.com", "https://api.stripe.com"
    if settings.stripe_api_base:
        parts = urlsplit(settings.stripe_api_base)
        scripts = frames = calls = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{scripts}; frame-src {frames}; connect-src 'self' {calls}; default-src 'none';"
        " style-src 'self'; img-src 'self' data: https:; font-src 'self'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    )


def _csp_nonce() -> str:
    """The nonce that scripts of this page carry; a script without it does not run."""
    if "csp_nonce" not in g:
        g.csp_nonce = new_token()
    return str(g.csp_nonce)


def _init_templates(app: Flask, settings: Settings) -> None:
    core_templates.prepare(app.jinja_env)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(csrf_token=generate_csrf, csp_nonce=_csp_nonce, url_for=_url_for)

    def common() -> dict[str, Any]:
        # As the browser has it: with the path that the shop is mounted under.
        path = request.full_path.rstrip("?") if request.method == "GET" else "/"
        path = request.script_root + path
        return {
            "locale": i18n.current_locale(),
            "mode": settings.mode,
            "shop_name": settings.shop_name,
            "sandbox_url": f"{settings.stripe_api_base}/" if settings.sandbox else None,
            "language_urls": {
                code: f"{request.script_root}/language/{code}?next={quote(path)}"
                for code in i18n.LOCALES
            },
        }

    app.context_processor(common)


def _url_for(endpoint: str, **values: Any) -> str:
    """Flask's url_for, with a cache for static files, of which every page has many."""
    if endpoint == "static" and set(values) == {"filename"}:
        return _static_url(request.script_root, values["filename"])
    return flask_url_for(endpoint, **values)


@lru_cache(maxsize=256)
def _static_url(_root: str, filename: str) -> str:
    return flask_url_for("static", filename=filename)


def _on_error(error: Exception) -> ResponseReturnValue:
    """Responds to every error, as a page or by the renderer of its path; logs the shop's own."""
    status, retry_after = _status(error)
    if status >= 500:
        logger.exception("request.failed", error=type(error).__name__)
    elif isinstance(error, DomainError):
        logger.info("request.rejected", error=error.name)
    renderer = state().error_renderers.get(request.path.rstrip("/"))
    if renderer:
        response = current_app.make_response(renderer(status, error, retry_after))
    else:
        wait = _waiting_time(retry_after) if retry_after and status == 429 else None
        page = render_template("errors/error.html", status=status, retry_after=wait)
        response = current_app.make_response((page, status))
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    if isinstance(error, HTTPException) and "Allow" in dict(error.get_headers()):
        response.headers["Allow"] = dict(error.get_headers())["Allow"]
    return response


def _status(error: Exception) -> tuple[int, int | None]:
    """The HTTP status, and after how many seconds to try again, if that makes sense."""
    if isinstance(error, RateLimited):
        return 429, error.retry_after
    if isinstance(error, NotFound):
        return 404, None
    if isinstance(error, Unavailable | SQLAlchemyError):
        return 503, 10
    if isinstance(error, DomainError):
        return 409, None
    if isinstance(error, HTTPException) and error.code and error.code >= 400:
        return error.code, None
    return 500, None


def _waiting_time(seconds: int) -> str:
    if seconds < 60:
        return ngettext("in %(num)d second", "in %(num)d seconds", seconds) % {"num": seconds}
    minutes = -(-seconds // 60)
    return ngettext("in %(num)d minute", "in %(num)d minutes", minutes) % {"num": minutes}
