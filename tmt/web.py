"""The HTTP side of every page: hosts, CSRF, locale, limits, errors, one log line."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import structlog
from flask import Blueprint, Flask, current_app, g, redirect, render_template, request, session
from flask import url_for as flask_url_for
from flask.typing import ResponseReturnValue
from flask.wrappers import Response
from flask_wtf.csrf import CSRFProtect, generate_csrf
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from tmt import headers
from tmt.config import Settings
from tmt.core import i18n, log, metrics
from tmt.core import templates as core_templates
from tmt.core.addresses import (
    came_directly,
    forwarding_headers,
    host_name,
    is_local,
    parse_address,
)
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


class _FormProtection(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's tokens, and what the browser says about the page that a form was sent from.

    Not every browser says it, in Origin or in Sec-Fetch-Site; what one says must not be wrong. The
    Referer is not asked for: there are buyers whose browsers send none.
    """

    def protect(self, apply_exemptions: bool = False) -> None:
        super().protect(apply_exemptions)
        if not g.get("csrf_valid"):
            return
        settings = shop().settings
        own = {host_name(request.host), host_name(urlsplit(settings.base_url).netloc)}
        origin = request.headers.get("Origin", "null")
        is_own = origin == "null" or host_name(origin.partition("://")[2]) in {
            *own,
            *map(host_name, settings.trusted_hosts),
        }
        if not is_own or request.headers.get("Sec-Fetch-Site") == "cross-site":
            self._error_response("The form was sent from a page of another site.")


csrf = _FormProtection()
pages = Blueprint("web", __name__)

# Renders an error in another form than a page, from its status, the error and Retry-After.
ErrorRenderer = Callable[[int, Exception, int | None], ResponseReturnValue]

_EXTENSION = "tmt"
_BODY_LIMIT = 64 * 1024
_NETWORK_FACTOR = 4
_YEAR = 365 * 24 * 3600
# Who speaks another language of Spain or of Latin America reads Spanish rather than English.
_READ_SPANISH = ("es", "ca", "eu", "gl", "ast", "an", "oc", "qu", "gn", "ay", "nah")
_LOCALE_OF_LANGUAGE = {"en": "en"} | dict.fromkeys(_READ_SPANISH, "es")
_SECURITY_CONTACT_LIFE = timedelta(days=180)
_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"))


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
    An IPv4 address that is mapped into IPv6 is the IPv4 address.
    """
    address = parse_address(request.remote_addr)
    if address is None:
        return "unknown"
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def limit_client(limit: str, action: str) -> None:
    """Counts an action of the client's address, and of its network; raises `RateLimited`.

    The network of an IPv6 client is its /48, which may do four times as much: one customer of a
    provider can have 65,536 networks of the size of an address.
    """
    address, network = client_address(), client_network()
    limits().hit(limit, action, address)
    if network != address:
        limits().hit(limit, f"{action}-network", network, times=_NETWORK_FACTOR)


def client_network() -> str:
    """The /48 network of an IPv6 client; the address of any other."""
    address = client_address()
    if ":" not in address:
        return address
    return str(ip_network(address).supernet(new_prefix=48))


def request_body() -> bytes:
    """The whole body; `RequestEntityTooLarge` also for one that is sent in chunks."""
    if request.content_length is None:
        # Without a length werkzeug stops reading at the limit and says nothing.
        request.max_content_length = _BODY_LIMIT + 1
    body = request.get_data()
    if len(body) > _BODY_LIMIT:
        raise RequestEntityTooLarge
    return body


def session_name() -> str:
    """An id of the browser's session; it stays the same for as long as its cookie does.

    Only for requests with a valid form: the id is derived from the CSRF token's seed.
    """
    return hashlib.sha256(str(session.get("csrf_token")).encode()).hexdigest()[:32]


def suggest_locale(locale: str) -> None:
    """Writes the response in the language of its event or order, if the visitor asks for none."""
    if _requested_locale() is None:
        g.locales.enter_context(i18n.use_locale(locale))


def has_chosen_language() -> bool:
    """Whether the visitor has chosen a language in this browser."""
    return request.cookies.get("language", "") in i18n.LOCALES


def remember_language(target: str, code: str) -> ResponseReturnValue:
    """Goes to this page, with a cookie that has all further pages in this language."""
    response = redirect(target, 303)
    secure = bool(current_app.config["SESSION_COOKIE_SECURE"])
    response.set_cookie(
        "language", code, max_age=_YEAR, httponly=True, samesite="Lax", secure=secure
    )
    return cast(ResponseReturnValue, response)


def is_this_machine() -> bool:
    """Whether a program on this machine asks, and nobody through a proxy that stands on it.

    Behind a public address the two cannot be told apart for sure: then nobody is this machine.
    """
    public = urlsplit(shop().settings.base_url).hostname
    return is_local(public) and came_directly(request.environ, _peer())


def reject_unannounced_proxy() -> bool:
    """Whether a proxy that TMT_TRUSTED_PROXIES does not count passed this request on; logs it."""
    forwarding = forwarding_headers(request.environ)
    if shop().settings.trusted_proxies or not forwarding:
        return False
    logger.warning("proxy.unannounced", headers=forwarding)
    return True


def _peer() -> str | None:
    """The other end of the connection: the client, or the last proxy in front of the shop."""
    original = request.environ.get("werkzeug.proxy_fix.orig") or request.environ
    return cast("str | None", original.get("REMOTE_ADDR"))


def init_app(app: Flask, app_state: AppState) -> None:
    """Sets the application up."""
    settings = app_state.shop.settings
    app.extensions[_EXTENSION] = app_state
    i18n.choose_spanish(settings.spanish)
    secure = settings.base_url.startswith("https://")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        MAX_CONTENT_LENGTH=_BODY_LIMIT,
        # With the prefix no other host of the domain can plant one.
        SESSION_COOKIE_NAME="__Host-tmt" if secure else "tmt",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # Only pages that change the session write its cookie: files may be in shared caches.
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops
        )
    headers.init_app(app, settings)
    _init_templates(app, settings)
    app.register_blueprint(pages)
    app.before_request(_before_request)
    app.before_request(_host_check(settings))
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


def mount(app: Flask, settings: Settings) -> None:
    """Puts all that the application serves under the path of TMT_BASE_URL, if it has one.

    Whether or not a proxy takes the path off.
    """
    prefix, serve = urlsplit(settings.base_url).path.rstrip("/"), app.wsgi_app

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(f"{prefix}/"):
            environ["PATH_INFO"] = path[len(prefix) :]
        if not environ.get("SCRIPT_NAME"):
            environ["SCRIPT_NAME"] = prefix
        return serve(environ, start_response)

    if prefix:
        app.wsgi_app = answer  # type: ignore[method-assign]


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
    return remember_language(safe_path(request.args.get("next", "")), code)


def _requested_locale() -> str | None:
    """What the visitor has chosen, or the browser asks for; None for neither."""
    chosen = request.cookies.get("language", "")
    if chosen in i18n.LOCALES:
        return chosen
    languages = [language for language, quality in request.accept_languages if quality > 0]
    for language in languages:
        name = language.lower().replace("_", "-").partition("-")[0]
        if name in _LOCALE_OF_LANGUAGE:
            return _LOCALE_OF_LANGUAGE[name]
    # Someone who asks for German alone reads English rather than Spanish.
    return "en" if any(language != "*" for language in languages) else None


@pages.get("/robots.txt")
def robots() -> ResponseReturnValue:
    """Search engines are to find a shop that sells; personal pages say noindex themselves."""
    closed = "" if shop().settings.livemode else "/"
    return Response(f"User-agent: *\nDisallow: {closed}\n", mimetype="text/plain")


@pages.get("/.well-known/security.txt")
def security_contact() -> ResponseReturnValue:
    """Where to report a weakness (RFC 9116), if a contact is set."""
    settings = shop().settings
    if not settings.contact:
        raise NotFound("TMT_CONTACT is not set")
    expires = shop().clock.now() + _SECURITY_CONTACT_LIFE
    lines = (
        f"Contact: {settings.seller['contact_url']}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        "Preferred-Languages: es, en",
        f"Canonical: {settings.base_url}/.well-known/security.txt",
    )
    return Response("\n".join([*lines, ""]), mimetype="text/plain")


def _before_request() -> None:
    g.started = time.perf_counter()
    log.clear()
    log.bind(request=new_token()[:12])
    g.locales = ExitStack()
    g.locales.enter_context(i18n.use_locale(_requested_locale() or shop().settings.language))


def _host_check(settings: Settings) -> Callable[[], Response | None]:
    """Rejects requests for other hosts than the shop's, before anything else looks at them.

    Else a page that has its own name resolve to this machine could read what the shop answers
    here, and links could be made to lead elsewhere. This machine may ask by its own names, and
    monitors may ask for the health pages by an address.
    """
    public = host_name(urlsplit(settings.base_url).netloc)
    trusted = {public, *map(host_name, settings.trusted_hosts)} - {""}
    is_unencrypted = settings.base_url.startswith("http://")

    def check() -> Response | None:
        host = host_name(request.host)
        if host in trusted or (is_local(host) and (is_unencrypted or is_local(_peer()))):
            return None
        if request.blueprint == "health" and parse_address(host):
            return None
        logger.warning("host.rejected", host=request.host[:100])
        return Response(
            "This is not the shop's address.\n"
            f"It is {settings.base_url}. Further host names can be set in TMT_TRUSTED_HOSTS.\n",
            400,
            mimetype="text/plain",
        )

    return check


def _after_request(response: Response) -> Response:
    if request.endpoint != "static" and not response.headers.get("Cache-Control"):
        response.headers["Cache-Control"] = "no-store"
        response.vary.update(("Accept-Language", "Cookie"))
    route = str(request.url_rule) if request.url_rule else "none"
    seconds = time.perf_counter() - g.get("started", time.perf_counter())
    # A method can be any word of the client's, and each label value is stored for ever.
    method = request.method if request.method in _METHODS else "other"
    metrics.requests.labels(route, method, response.status_code).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    # Static files are logged only at the DEBUG level.
    write = logger.debug if request.endpoint == "static" else logger.info
    write(
        "request",
        method=method,
        route=route,
        status=response.status_code,
        milliseconds=round(seconds * 1000, 1),
    )
    return response


def _teardown_request(_error: BaseException | None) -> None:
    locales = g.pop("locales", None)
    if locales is not None:
        locales.close()


def _init_templates(app: Flask, settings: Settings) -> None:
    core_templates.prepare(app.jinja_env)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        csrf_token=generate_csrf, csp_nonce=headers.csp_nonce, url_for=_url_for
    )

    def common() -> dict[str, Any]:
        # As the browser has it: with the path that the shop is mounted under.
        path = request.full_path.rstrip("?") if request.method == "GET" else "/"
        path = request.script_root + path
        return {
            "locale": i18n.current_locale(),
            "mode": settings.mode,
            "shop_name": settings.shop_name,
            "seller": settings.seller,
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
        is_order = status == 404 and "token" in (request.view_args or {})
        page = render_template(
            "errors/error.html", status=status, retry_after=wait, is_order=is_order
        )
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
