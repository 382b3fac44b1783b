"""Signing in and out, and the pages on which customers change what is stored about them."""

from __future__ import annotations

from typing import cast

from flask import (
    Blueprint,
    Flask,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from flask import session as browser_session
from flask.typing import ResponseReturnValue

from tmt import web
from tmt.core.email_address import email_key
from tmt.core.i18n import country_names, current_locale, use_locale
from tmt.core.i18n import gettext as _
from tmt.customers import email_change, sign_in
from tmt.customers.accounts import change_company, change_details, find_company
from tmt.customers.forms import CompanyForm, DetailsForm, EmailForm, NewEmailForm
from tmt.customers.links import LinkEnded
from tmt.customers.models import Customer

customers = Blueprint("customers", __name__)

_EXTENSION = "tmt.customers"
_SESSION_KEY = "customer"
# Each sends two mails, one of them to an address that nobody has confirmed yet.
_EMAIL_CHANGES = "5 per day"


def init_app(app: Flask, move_orders: email_change.MoveOwned) -> None:
    """Adds the pages; `move_orders` is for customers whose new address was another customer's."""
    app.extensions[_EXTENSION] = move_orders
    app.permanent_session_lifetime = sign_in.SESSION_LIFE
    app.register_blueprint(customers)


def move_owned() -> email_change.MoveOwned:
    """What `init_app` was handed."""
    return cast(email_change.MoveOwned, current_app.extensions[_EXTENSION])


def signed_in_customer() -> Customer | None:
    """Who is signed in in this browser, in pages of every package."""
    token = str(browser_session.get(_SESSION_KEY, ""))
    if not token:
        return None
    if "customer" not in g:
        shop = web.shop()
        with shop.db.reading() as reading:
            g.customer = sign_in.find_signed_in(reading, shop, token)
    return cast("Customer | None", g.customer)


def to_sign_in() -> ResponseReturnValue:
    """What a page answers that is for signed-in customers alone."""
    return redirect(url_for("customers.ask_for_link"), 303)


@customers.route("/sign-in", methods=["GET", "POST"])
def ask_for_link() -> ResponseReturnValue:
    """Responds alike to every address: only the mail says whether it is a customer's."""
    form = EmailForm()
    if request.method == "GET":
        if signed_in_customer():
            return _to_account()
        return render_template("account/sign_in.html", form=form)
    if not form.validate():
        return render_template("account/sign_in.html", form=form), 422
    shop, email = web.shop(), form.email.data
    web.limit_client(shop.settings.finds_per_address, "sign-in-address")
    web.limits().hit(shop.settings.finds_per_address, "sign-in-email", email_key(email))
    sign_in.request_link(shop, email, current_locale())
    return render_template("account/sign_in_sent.html", minutes=sign_in.LINK_LIFE.seconds // 60)


@customers.route("/sign-in/<token>", methods=["GET", "POST"])
def sign_in_by_link(token: str) -> ResponseReturnValue:
    """The link itself changes nothing, as programs open links in mails too; its button does."""
    shop = web.shop()
    try:
        if request.method == "POST":
            return _begin_session(sign_in.sign_in(shop, token))
        with shop.db.reading() as reading:
            customer = sign_in.find_to_sign_in(reading, shop, token)
    except LinkEnded:
        return _link_ended()
    web.suggest_locale(customer.locale)
    return render_template("account/sign_in_confirm.html", email=customer.email, token=token)


@customers.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    sign_in.sign_out(web.shop(), str(browser_session.get(_SESSION_KEY, "")))
    browser_session.clear()
    flash(_("You are signed out."), "good")
    return redirect(url_for("catalog.index"), 303)


@customers.post("/account/sign-out-everywhere")
def sign_out_everywhere() -> ResponseReturnValue:
    customer = signed_in_customer()
    if customer is None:
        return to_sign_in()
    sign_in.sign_out_everywhere(web.shop(), customer.id)
    browser_session.clear()
    flash(_("You are signed out on all devices."), "good")
    return redirect(url_for("catalog.index"), 303)


@customers.route("/account/settings", methods=["GET", "POST"])
def settings() -> ResponseReturnValue:
    customer = signed_in_customer()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    if request.method == "GET":
        details = DetailsForm(name=customer.name, language=customer.locale)
        return _settings_page(customer, details, EmailForm())
    form = DetailsForm()
    if not form.validate():
        return _settings_page(customer, form, EmailForm()), 422
    change_details(web.shop(), customer.id, form.name.data, form.language.data)
    with use_locale(form.language.data):
        flash(_("Your changes are saved."), "good")
    return web.remember_language(url_for("customers.settings"), form.language.data)


@customers.route("/account/company", methods=["GET", "POST"])
def company() -> ResponseReturnValue:
    customer, shop = signed_in_customer(), web.shop()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    if request.method == "GET":
        with shop.db.reading() as reading:
            row = find_company(reading, customer.id)
        form = CompanyForm(obj=row, company=row.name) if row else CompanyForm()
        return _company_page(customer, form)
    form = CompanyForm()
    if not form.validate():
        return _company_page(customer, form), 422
    change_company(shop, customer.id, None if form.is_empty else form.details)
    flash(_("Your changes are saved."), "good")
    return redirect(url_for("customers.company"), 303)


@customers.post("/account/email")
def change_email() -> ResponseReturnValue:
    customer = signed_in_customer()
    if customer is None:
        return to_sign_in()
    web.suggest_locale(customer.locale)
    form, shop = NewEmailForm(), web.shop()
    form.present = customer.email
    if not form.validate():
        details = DetailsForm(None, name=customer.name, language=customer.locale)
        return _settings_page(customer, details, form), 422
    web.limits().hit(_EMAIL_CHANGES, "email-changes", str(customer.id))
    web.limits().hit(shop.settings.finds_per_address, "sign-in-email", email_key(form.email.data))
    email_change.request_change(shop, customer.id, form.email.data, current_locale())
    return _to_settings()


@customers.post("/account/email/give-up")
def give_up_email_change() -> ResponseReturnValue:
    customer = signed_in_customer()
    if customer is None:
        return to_sign_in()
    email_change.give_up(web.shop(), customer.id)
    return _to_settings()


@customers.route("/account/email/<token>", methods=["GET", "POST"])
def confirm_email_change(token: str) -> ResponseReturnValue:
    """For the link in either mail, also where nobody is signed in."""
    shop = web.shop()
    try:
        with shop.db.reading() as reading:
            customer, change = email_change.find_to_confirm(reading, shop, token)
        web.suggest_locale(change.locale)
        if request.method == "GET":
            return render_template(
                "account/email_confirm.html",
                old_email=customer.email,
                new_email=change.email,
                token=token,
            )
        is_done = email_change.confirm(shop, token, move_owned())
    except LinkEnded:
        return _link_ended()
    return render_template("account/email_confirmed.html", is_done=is_done, email=change.email)


def _begin_session(token: str) -> ResponseReturnValue:
    """Signs in with a fresh session: nothing that was in this browser before knows its secrets."""
    sign_in.sign_out(web.shop(), str(browser_session.get(_SESSION_KEY, "")))
    browser_session.clear()
    browser_session.permanent = True
    browser_session[_SESSION_KEY] = token
    with web.shop().db.reading() as reading:
        customer = sign_in.find_signed_in(reading, web.shop(), token)
    if customer is None or web.has_chosen_language():
        return _to_account()
    return web.remember_language(url_for("account.overview"), customer.locale)


def _settings_page(customer: Customer, details: DetailsForm, email_form: EmailForm) -> str:
    shop = web.shop()
    with shop.db.reading() as reading:
        change = email_change.waiting_change(reading, shop, customer.id)
        sessions = sign_in.count_sessions(reading, shop, customer.id)
    return render_template(
        "account/settings.html",
        customer=customer,
        form=details,
        email_form=email_form,
        change=change,
        sessions=sessions,
    )


def _company_page(customer: Customer, form: CompanyForm) -> str:
    countries = country_names()
    return render_template(
        "account/company.html", customer=customer, form=form, countries=countries
    )


def _link_ended() -> ResponseReturnValue:
    return render_template("account/link_ended.html"), 410


def _to_account() -> ResponseReturnValue:
    return redirect(url_for("account.overview"), 303)


def _to_settings() -> ResponseReturnValue:
    return redirect(url_for("customers.settings"), 303)
