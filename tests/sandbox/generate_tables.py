"""Generates tmt/sandbox/data/parameters.yaml and objects.yaml from the types of the installed SDK.

`python -m tests.sandbox.generate_tables` writes them. A new family of methods and objects needs no
line here: its methods are those that `@route` registers, its objects those of data/defaults.yaml.
"""

from __future__ import annotations

import builtins
import decimal
import sys
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import stripe
import stripe.params
import typing_extensions
import yaml
from stripe._object_classes import OBJECT_CLASSES, get_object_class

from tmt.sandbox import api
from tmt.sandbox.objects import load_table
from tmt.sandbox.registry import ROUTES

from .read_presence import FILE as PRESENCE_FILE

DATA = Path(api.__file__).parent / "data"
HEADER = (
    f"# Generated from the types of stripe {stripe.VERSION}; do not edit it, run\n"
    "# `python -m tests.sandbox.generate_tables`.\n"
)
Row = dict[str, Any]

# Exceptions from the SDK's types, each with its reason.
#
# Longer lists of values (kinds of payment method) change with every release of the SDK: they are
# strings, and code checks them where it matters. Some have a table of their own, enums.yaml.
LONGEST_ENUM = 12
NAMED_ENUMS = {
    "enabled_events": "event_types",
    "api_version": "api_versions",
    "allowed_payment_method_types": "allowed_methods",
    "excluded_payment_method_types": "excluded_methods",
}
# Parameters that have to be more than a string, by their names; params.py checks them.
CHECKED = {
    "address_country": "country",
    "country": "country",
    "currency": "currency",
    "domain_name": "domain",
    "email": "email",
    "instructions_email": "email",
    "receipt_email": "email",
    "return_url": "url",
}
# Of the kinds of payment method, only those that the sandbox simulates.
SIMULATED = set(load_table("simulated_methods")["kinds"])
# Options of the kinds that are not simulated are accepted, and nothing depends on them.
OPTIONS = "payment_method_options"
# Refused as unknown because nothing is done with them, so that nobody comes to rely on them:
# bank transfers and Stripe Tax; cloning a payment method; accounts as customers; amounts that
# buyers choose, and prices of several units; of invoices also discounts, shipping, and numbers of
# one's own.
UNUSED_OF_INVOICES = (
    "account_tax_ids automatic_tax customer_account default_source discounts issuer number"
    " shipping_cost"
)
UNUSED_OF_SUBSCRIPTIONS = (
    "add_invoice_items application_fee_percent automatic_tax billing_schedules billing_thresholds"
    " customer_account default_source discounts pending_invoice_item_interval trial_from_plan"
)
UNUSED_OF_ITEMS = "billing_thresholds current_trial discounts off_session plan price_data"
NOT_SIMULATED = {
    "POST /v1/customers": "cash_balance tax validate",
    "POST /v1/customers/<id>": "cash_balance tax validate",
    "POST /v1/customers/<id>/sources": "validate",
    "POST /v1/customers/<id>/sources/<source>": "account_holder_name account_holder_type owner",
    "POST /v1/plans": "transform_usage",
    "POST /v1/prices": "custom_unit_amount transform_quantity",
    "POST /v1/promotion_codes": "customer_account",
    "POST /v1/promotion_codes/<id>": "restrictions",
    "POST /v1/payment_methods": "customer payment_method",
    "POST /v1/payment_methods/<id>/attach": "customer_account",
    "POST /v1/tokens": "account bank_account customer cvc_update person pii",
    "POST /v1/invoiceitems": (
        "customer_account discounts price_data quantity_decimal subscription tax_behavior tax_code"
    ),
    "POST /v1/invoiceitems/<id>": (
        "discounts invoicing_rules price_data quantity_decimal tax_behavior tax_code"
    ),
    "POST /v1/invoices": UNUSED_OF_INVOICES + " from_invoice subscription",
    "POST /v1/invoices/<id>": UNUSED_OF_INVOICES,
    "POST /v1/invoices/<id>/pay": "mandate source",
    "POST /v1/invoices/create_preview": (
        "automatic_tax customer_account customer_details discounts invoice_items issuer"
        " preview_mode schedule schedule_details"
    ),
    "GET /v1/invoices": "customer_account",
    "POST /v1/subscription_items": UNUSED_OF_ITEMS,
    "POST /v1/subscription_items/<id>": UNUSED_OF_ITEMS,
    "DELETE /v1/subscription_items/<id>": "clear_usage",
    "GET /v1/credit_notes": "customer_account",
    "GET /v1/credit_notes/preview": "shipping_cost",
    "POST /v1/credit_notes": "shipping_cost",
    "POST /v1/subscriptions": UNUSED_OF_SUBSCRIPTIONS
    + (" backdate_start_date billing_cycle_anchor billing_cycle_anchor_config currency"),
    "POST /v1/subscriptions/<id>": UNUSED_OF_SUBSCRIPTIONS + (" off_session"),
    "DELETE /v1/subscriptions/<id>": "invoice_now prorate",
    "POST /v1/subscriptions/<id>/resume": "billing_cycle_anchor proration_behavior proration_date",
    "GET /v1/subscriptions": (
        "automatic_tax current_period_end current_period_start customer_account"
    ),
    "GET /v1/invoiceitems": "customer_account",
}
# The same, wherever they are: prices in other currencies.
NOT_SIMULATED_ANYWHERE = {"currency_options"}
# Not only what the SDK's types say: Stripe unsets the default price, too.
CLEARABLE = {("POST /v1/products/<id>", "default_price")}
# What requests of older versions have, and where they end; and what begins with a version.
COUPONS_OF_CUSTOMERS: dict[str, Row | str] = {
    name: {"type": "string", "clearable": True, "until": "2025-03-31.basil"}
    for name in ("coupon", "promotion_code")
}
OLDER: dict[str, dict[str, Row | str]] = {
    "POST /v1/customers": COUPONS_OF_CUSTOMERS,
    "POST /v1/customers/<id>": COUPONS_OF_CUSTOMERS,
    "POST /v1/promotion_codes": {"coupon": {"type": "string", "until": "2025-09-30.clover"}},
}
METHOD_TYPES = {"type": "array", "items": {"enum": "allowed_methods"}, "until": "2026-09-30"}
SINCE = {("POST /v1/promotion_codes", "promotion"): "2025-09-30.clover"}
# Forms send the fields that their users leave empty, and Stripe takes them for unset.
FORMS = {"address", "evidence"}
# Required because its alternative is not simulated.
REQUIRED = {
    "POST /v1/payment_methods": "type",
    "POST /v1/payment_methods/<id>/attach": "customer",
    "POST /v1/tokens": "card",
    "POST /v1/invoiceitems": "customer",
    "POST /v1/invoices": "customer",
    "POST /v1/subscriptions": "customer",
}
# Methods of the browser alone, and the method of the SDK that takes the same parameters.
OF_BROWSERS = {"POST /v1/confirmation_tokens": "POST /v1/test_helpers/confirmation_tokens"}
# Only browsers send these and the card of `payment_method_data`, with Stripe.js; the SDK is for
# servers.
SENT_BY_BROWSERS = {
    "POST /v1/payment_intents/<id>/confirm": {"client_secret": "string"},
    "POST /v1/setup_intents/<id>/confirm": {"client_secret": "string"},
}
# The official CLI calls it, and the SDK lacks it.
OF_THE_CLI = {
    "POST /v1/events/<id>/retry": {
        "account": "string",
        "for_stripecli": "boolean",
        "webhook_endpoint": "string",
    }
}
CARD = {
    "fields": {
        "cvc": "string",
        "exp_month": "integer",
        "exp_year": "integer",
        "number": "string",
        "token": "string",
    }
}
# Not parameters of a method but of the SDK's request.
REQUEST_OPTIONS = {*stripe.RequestOptions.__annotations__, "expand"}
# A part of another object, which is created and not an action on it.
CREATED_INSIDE = {
    f"POST /v1/customers/<id>/{name}" for name in ("balance_transactions", "sources", "tax_ids")
}
# Names in URLs that are not the plural of the SDK's.
SPELLINGS = {"invoiceitems": "invoice_item", "lines": "line_item", "sources": "payment_source"}
# Where Stripe sends null; other optional fields are absent. The SDK's types do not tell the two.
PRESENCE: dict[str, dict[str, str]] = yaml.safe_load(PRESENCE_FILE.read_text())
SIMPLE = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    decimal.Decimal: "decimal",
}


class Names(dict[str, Any]):
    """Resolves the names of a module's annotations, also those imported for type checkers only."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(self.module, name) or hasattr(builtins, name):
            raise KeyError(name)
        return getattr(stripe, name, stripe.StripeObject)


@cache
def hints(cls: type) -> dict[str, Any]:
    """The annotated fields of an object's class."""
    annotated = typing.get_type_hints(cls, None, Names(sys.modules[cls.__module__]))
    return {n: h for n, h in annotated.items() if not n.startswith("_") and n != "OBJECT_NAME"}


KINDS = {
    kind
    for union in typing.get_args(hints(stripe.PaymentMethod)["type"])
    for kind in typing.get_args(union)
}


def alternatives(hint: Any, module: types.ModuleType) -> Iterator[Any]:
    """The members of a union, also where annotations are nested and written as strings."""
    if isinstance(hint, typing.ForwardRef):
        hint = hint.__forward_arg__
    if isinstance(hint, str):
        hint = eval(hint, vars(module), Names(module))
    if typing.get_origin(hint) in (typing.Union, types.UnionType, typing.Annotated):
        for member in typing.get_args(hint):
            yield from alternatives(member, module)
    else:
        yield hint


def without_defaults(row: Row) -> Row | str:
    """The row as it is written: a string where it has nothing but a type."""
    row = {name: value for name, value in row.items() if value is not False}
    return row["type"] if row.keys() == {"type"} else row


def is_enum(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def parameter(hint: Any, module: types.ModuleType, rule: str, name: str) -> Row:
    """What one parameter may be."""
    members = [*alternatives(hint, module)]
    if typing.get_origin(members[0]) is not typing_extensions.NotRequired:
        return {**parameter_type(members, module, rule, name), "required": True}
    members = [*alternatives(typing.get_args(members[0])[0], module)]
    return parameter_type(members, module, rule, name)


def parameter_type(members: list[Any], module: types.ModuleType, rule: str, name: str) -> Row:
    """The type of a parameter, by the members of its union."""
    values = [value for member in members if is_enum(member) for value in typing.get_args(member)]
    enum = [value for value in values if value and len(values) <= LONGEST_ENUM]
    row: Row = {"clearable": "" in values}
    if {*values} == TAX_ID_TYPES:
        return {**row, "enum": "tax_id_types"}
    for member in members:
        if typing_extensions.is_typeddict(member):
            if "gte" in member.__annotations__:
                return {**row, "type": "range"}
            # It may be the id of an object that there is, or the data of a new one.
            row |= {"type": "string"} if str in members else {}
            return {**row, "fields": parameters(member, rule, name)}
        if typing.get_origin(member) is list:
            elements = [*alternatives(typing.get_args(member)[0], module)]
            items = without_defaults(parameter_type(elements, module, rule, ""))
            if name in NAMED_ENUMS:
                items = {"enum": NAMED_ENUMS[name]}
            return {**row, "type": "array", "items": items}
        if typing.get_origin(member) is dict:
            return {**row, "type": "metadata" if name == "metadata" else "hash"}
    simple = next((SIMPLE[member] for member in members if member in SIMPLE), "string")
    if name in CHECKED and not rule.startswith("GET"):
        return {**row, "type": CHECKED[name]}
    if name in NAMED_ENUMS:
        return {**row, "enum": NAMED_ENUMS[name]}
    if not enum:
        return {**row, "type": simple}
    return {**row, "enum": enum} if simple == "string" else {**row, "type": simple, "enum": enum}


def parameters(cls: Any, rule: str, inside: str = "") -> dict[str, Row | str]:
    """The parameters of a method, or the fields of its parameter `inside`, which is a hash."""
    rows: dict[str, Row | str] = {}
    for name, hint in cls.__annotations__.items():
        if not inside and name in REQUEST_OPTIONS | {*NOT_SIMULATED.get(rule, "").split()}:
            continue
        row = parameter(hint, sys.modules[cls.__module__], rule, name)
        if name in KINDS - SIMULATED and "fields" in row:
            if inside != OPTIONS:
                continue
            row = {"type": "hash", "clearable": True}
        if name in NOT_SIMULATED_ANYWHERE:
            continue
        row["clearable"] = row["clearable"] or inside in FORMS or (rule, name) in CLEARABLE
        if not inside and name == REQUIRED.get(rule):
            row["required"] = True
        if not inside and (rule, name) in SINCE:
            row["since"] = SINCE[rule, name]
        rows[name] = without_defaults(row)
    if inside == "payment_method_data":
        rows["card"] = CARD
    if inside:
        return rows
    if "allowed_payment_method_types" in rows:
        rows["payment_method_types"] = METHOD_TYPES
    return rows | OLDER.get(rule, {}) | SENT_BY_BROWSERS.get(rule, {})


def parameters_class(rule: str) -> Any:
    """The SDK's class of parameters: PaymentIntentConfirmParams of `POST …/<id>/confirm`."""
    verb, path = OF_BROWSERS.get(rule, rule).split()
    package: Any = stripe.params
    segments = path.split("/")[2:]
    while isinstance(getattr(package, segments[0], None), types.ModuleType):
        package = getattr(package, segments.pop(0))
    words = [segment for segment in segments if not segment.startswith("<")]
    if words[-1] in ("search", "preview"):
        actions = [words.pop()]
    elif segments[-1].startswith("<"):
        actions = {"GET": ["retrieve"], "POST": ["update"], "DELETE": ["delete", "cancel"]}[verb]
    elif verb == "DELETE":
        actions = [f"delete_{words.pop()}"]
    elif verb == "POST" and len(words) > 1 and rule not in CREATED_INSIDE:
        # `POST /v1/invoices/<id>/pay` is InvoicePay, `…/finalize` InvoiceFinalizeInvoice.
        action = words.pop()
        actions = [action, f"{action}_{words[-1].removesuffix('s')}"]
    else:
        is_plural = segments[-1].endswith("s")
        actions = ["create" if verb == "POST" else "list" if is_plural else "retrieve"]
    noun = "_".join(SPELLINGS.get(word, word.removesuffix("s")) for word in words)
    names = [f"{noun}_{action}_params".title().replace("_", "") for action in actions]
    return next(getattr(package, name) for name in names if hasattr(package, name))


def literals(cls: Any, name: str) -> set[str]:
    """All values that the annotation of a parameter lists."""
    hints, values = [cls.__annotations__[name]], set()
    while hints:
        for member in alternatives(hints.pop(), sys.modules[cls.__module__]):
            if is_enum(member):
                values |= {*typing.get_args(member)}
            else:
                hints += typing.get_args(member)[:1]
    return values


TAX_ID_TYPES = literals(stripe.params.TaxIdCreateParams, "type")


def fields(path: str) -> dict[str, Row | str]:
    """The fields of an object, or of a part of one, such as `charge.outcome`."""
    cls = object_class(path)
    annotated = hints(cls)
    of_type = alternatives(annotated.get("type"), sys.modules[cls.__module__])
    kinds = {kind for member in of_type if is_enum(member) for kind in typing.get_args(member)}
    nullable = PRESENCE.get(path, {}).get("null", "").split()
    rows: dict[str, Row | str] = {}
    for name, hint in annotated.items():
        members = [*alternatives(hint, sys.modules[cls.__module__])]
        # `deleted` is shown by a deleted object alone.
        if name == "object" or Literal[True] in members:
            continue
        # A hash that belongs to one kind of payment method is absent, not null, for the others.
        of_one_kind = name in kinds & KINDS or hasattr(members[0], "DisplayPreference")
        if of_one_kind and name not in SIMULATED:
            continue
        row = {
            **field_type(members),
            "nullable": name in nullable,
            "expandable": str in members and any(hasattr(m, "OBJECT_NAME") for m in members),
        }
        rows[name] = without_defaults(row)
    return rows


def field_type(members: list[Any]) -> Row:
    """The type of a field, by the members of its union."""
    enum = [value for member in members if is_enum(member) for value in typing.get_args(member)]
    if enum and len(enum) <= LONGEST_ENUM:
        return {"enum": enum}
    for member in members:
        if member in SIMPLE:
            return {"type": SIMPLE[member]}
        if typing.get_origin(member) is list:
            return {"type": "array"}
    return {"type": "hash"}


def object_class(path: str) -> type:
    """The SDK's class of an object, or of a part of one, such as `charge.outcome`."""
    # A kind may have a dot in its name, too: radar.early_fraud_warning.
    kind = max((k for k in OBJECT_CLASSES if f"{path}.".startswith(f"{k}.")), key=len)
    cls = get_object_class("V1", kind)
    for name in path.removeprefix(kind).split(".")[1:]:
        members = alternatives(hints(cls)[name], sys.modules[cls.__module__])
        part = next(member for member in members if member is not type(None))
        cls = typing.get_args(part)[0] if typing.get_origin(part) is list else part
    return cls


class Dumper(yaml.SafeDumper):
    """Writes every part where it belongs, also where several are the same."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def generate() -> dict[str, str]:
    """The text of each generated file, by its name."""
    methods = [rule for rule in ROUTES if rule not in OF_THE_CLI]
    tables = {
        "parameters": {rule: parameters(parameters_class(rule), rule) for rule in methods}
        | OF_THE_CLI,
        "objects": {path: fields(path) for path in load_table("defaults")["objects"]},
    }
    explanations = {
        "parameters": (
            "# The parameters of each method of the API. An empty string clears one that is\n"
            "# `clearable`. Of a hash without `fields`, nothing is read.\n"
        ),
        "objects": (
            "# The fields of each object, and of the parts of objects that have a template.\n"
            "# `expand` replaces the id in an `expandable` field by its object.\n"
        ),
    }
    explanations["enums"] = "# The longer lists of values that parameters may have.\n"
    created = (stripe.params.PaymentIntentCreateParams, stripe.params.WebhookEndpointCreateParams)
    tables["enums"] = {
        name: sorted(literals(cls, parameter))
        for parameter, name in NAMED_ENUMS.items()
        for cls in created
        if parameter in cls.__annotations__
    } | {"tax_id_types": sorted(TAX_ID_TYPES)}
    texts = {}
    for name, table in tables.items():
        parts = [
            yaml.dump({key: table[key]}, Dumper=Dumper, default_flow_style=None, width=100)
            for key in sorted(table)
        ]
        texts[f"{name}.yaml"] = "\n".join([HEADER + explanations[name], *parts])
    return texts


if __name__ == "__main__":
    for name, text in generate().items():
        (DATA / name).write_text(text)
        print(f"wrote {name}")
