"""Generates tmt/sandbox/data/parameters.yaml and objects.yaml from the types of the installed SDK.

`python -m tests.sandbox.generate_tables` writes them. A new family of methods and objects needs no
line here: its methods are those that `@route` registers, its objects those of data/defaults.yaml.
"""

from __future__ import annotations

import builtins
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import stripe
import stripe.params
import typing_extensions
import yaml
from stripe._object_classes import get_object_class

from tmt.sandbox import api
from tmt.sandbox.objects import load_table
from tmt.sandbox.registry import ROUTES

DATA = Path(api.__file__).parent / "data"
HEADER = (
    f"# Generated from the types of stripe {stripe.VERSION}; do not edit it, run\n"
    "# `python -m tests.sandbox.generate_tables`.\n"
)
Row = dict[str, Any]

# Exceptions from the SDK's types, each with its reason.
#
# Longer lists of values (events, API versions, kinds of payment method) change with every release
# of the SDK: they are strings, and code checks them where it matters.
LONGEST_ENUM = 12
# Of the kinds of payment method, only those that the sandbox simulates.
SIMULATED = set(load_table("simulated_methods")["kinds"])
# Nothing in the sandbox depends on what is in them: they are stored as they were sent.
NOT_PARSED = {"amount_details", "payment_details", "payment_method_options"}
# Refused as unknown because nothing is done with them, so that nobody comes to rely on them:
# legacy sources, bank transfers and tax; cloning a payment method; accounts as customers.
NOT_SIMULATED = {
    "POST /v1/customers": "cash_balance next_invoice_sequence source tax tax_id_data validate",
    "POST /v1/customers/<id>": (
        "cash_balance default_source next_invoice_sequence source tax validate"
    ),
    "POST /v1/payment_methods": "customer payment_method",
    "POST /v1/payment_methods/<id>/attach": "customer_account",
}
# Required because its alternative is not simulated.
REQUIRED = {
    "POST /v1/payment_methods": "type",
    "POST /v1/payment_methods/<id>/attach": "customer",
}
# Only browsers send these and the card of `payment_method_data`, with Stripe.js; the SDK is for
# servers.
SENT_BY_BROWSERS = {
    "POST /v1/payment_intents/<id>/confirm": {"client_secret": "string"},
    "POST /v1/setup_intents/<id>/confirm": {"client_secret": "string"},
}
CARD = {
    "fields": {
        "cvc": "string",
        "exp_month": "integer",
        "exp_year": "integer",
        "number": "string",
        "token": "string",
    },
}
# Not parameters of a method but of the SDK's request.
REQUEST_OPTIONS = {*stripe.RequestOptions.__annotations__, "expand"}
SIMPLE = {str: "string", int: "integer", bool: "boolean", float: "number"}


class Names(dict[str, Any]):
    """Resolves the names of a module's annotations, also those imported for type checkers only."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(self.module, name) or hasattr(builtins, name):
            raise KeyError(name)
        return getattr(stripe, name, stripe.StripeObject)


def hints(cls: type) -> dict[str, Any]:
    """The annotated fields of an object's class."""
    found = typing.get_type_hints(cls, None, Names(sys.modules[cls.__module__]))
    return {n: h for n, h in found.items() if not n.startswith("_") and n != "OBJECT_NAME"}


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


def parameter(hint: Any, module: types.ModuleType, rule: str, name: str) -> Row:
    """What one parameter may be."""
    members = [*alternatives(hint, module)]
    if typing.get_origin(members[0]) is typing_extensions.NotRequired:
        return typed(typing.get_args(members[0])[0], module, rule, name)
    return {**typed(hint, module, rule, name), "required": True}


def typed(hint: Any, module: types.ModuleType, rule: str, name: str) -> Row:
    members = [*alternatives(hint, module)]
    values = [v for member in members if _is_enum(member) for v in typing.get_args(member)]
    row: Row = {"clearable": "" in values}
    enum = [value for value in values if value and len(values) <= LONGEST_ENUM]
    others = [member for member in members if not _is_enum(member)]
    hashes = [member for member in others if typing_extensions.is_typeddict(member)]
    lists = [member for member in others if typing.get_origin(member) is list]
    if name in NOT_PARSED:
        return {**row, "type": "hash"}
    if hashes:
        if "gte" in hashes[0].__annotations__:
            return {**row, "type": "range"}
        return {**row, "fields": parameters(hashes[0], rule, name)}
    if lists:
        element = typed(typing.get_args(lists[0])[0], module, rule, "")
        return {**row, "type": "array", "items": without_defaults(element)}
    if any(typing.get_origin(member) is dict for member in others):
        return {**row, "type": "metadata" if name == "metadata" else "hash"}
    simple = next((SIMPLE[member] for member in others if member in SIMPLE), "string")
    if name == "currency" and not rule.startswith("GET"):
        return {**row, "type": "currency"}
    if enum and simple == "string":
        return {**row, "enum": enum}
    return {**row, "type": simple} | ({"enum": enum} if enum else {})


def _is_enum(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def parameters(cls: Any, rule: str, inside: str = "") -> dict[str, Row | str]:
    """The parameters of a method, or the fields of its parameter `inside`, which is a hash."""
    rows: dict[str, Row | str] = {}
    for name, hint in cls.__annotations__.items():
        if not inside and name in REQUEST_OPTIONS | {*NOT_SIMULATED.get(rule, "").split()}:
            continue
        row = parameter(hint, sys.modules[cls.__module__], rule, name)
        if name in KINDS - SIMULATED and "fields" in row:
            continue
        if inside == "address":
            # A form sends the lines that its user leaves empty.
            row["clearable"] = True
        if not inside and name == REQUIRED.get(rule):
            row["required"] = True
        rows[name] = without_defaults(row)
    if inside == "payment_method_data":
        rows["card"] = CARD
    return rows if inside else rows | SENT_BY_BROWSERS.get(rule, {})


def parameters_class(rule: str) -> Any:
    """The SDK's class of parameters: PaymentIntentConfirmParams of `POST …/<id>/confirm`."""
    verb, path = rule.split()
    package: Any = stripe.params
    segments = path.split("/")[2:]
    while isinstance(getattr(package, segments[0], None), types.ModuleType):
        package = getattr(package, segments.pop(0))
    words = [segment for segment in segments if segment != "<id>"]
    if segments[-1] == "<id>":
        action = {"GET": "retrieve", "POST": "update", "DELETE": "delete"}[verb]
    elif verb == "POST" and len(words) > 1:
        action = words.pop()
    else:
        plural = segments[-1].endswith("s")
        action = "create" if verb == "POST" else "list" if plural else "retrieve"
    singular = [word.removesuffix("s") for word in words]
    return getattr(package, f"{'_'.join([*singular, action])}_params".title().replace("_", ""))


def fields(path: str) -> dict[str, Row | str]:
    """The fields of an object, or of a part of one, such as `charge.outcome`."""
    cls = _class(path)
    found = hints(cls)
    own_kinds = {
        kind for union in typing.get_args(found.get("type", str)) for kind in typing.get_args(union)
    }
    rows: dict[str, Row | str] = {}
    for name, hint in found.items():
        members = [*alternatives(hint, sys.modules[cls.__module__])]
        # `deleted` is shown by a deleted object alone.
        if name == "object" or typing_extensions.Literal[True] in members:
            continue
        of_one_kind = name in own_kinds or hasattr(members[0], "DisplayPreference")
        if of_one_kind and name not in SIMULATED:
            continue
        rows[name] = without_defaults(
            {
                **_field_type(members),
                # A hash that belongs to one kind is absent from the others, not null.
                "nullable": type(None) in members and not of_one_kind,
                "expandable": str in members and any(_is_object(member) for member in members),
            }
        )
    return rows


def _field_type(members: list[Any]) -> Row:
    enum = [value for member in members if _is_enum(member) for value in typing.get_args(member)]
    if enum and len(enum) <= LONGEST_ENUM:
        return {"enum": enum}
    for member in members:
        if member in SIMPLE:
            return {"type": SIMPLE[member]}
        if typing.get_origin(member) is list:
            return {"type": "array"}
    return {"type": "hash"}


def _is_object(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "OBJECT_NAME")


def _class(path: str) -> type:
    """The class of an object or of a part of it; dots separate both, and parts of a kind's name."""
    kinds = [kind for kind in stripe_kinds() if f"{path}.".startswith(f"{kind}.")]
    kind = max(kinds, key=len)
    cls = get_object_class("V1", kind)
    for name in path[len(kind) + 1 :].split("."):
        if name:
            members = [*alternatives(hints(cls)[name], sys.modules[cls.__module__])]
            member = next(m for m in members if m is not type(None))
            cls = typing.get_args(member)[0] if typing.get_origin(member) is list else member
    return cls


def stripe_kinds() -> list[str]:
    from stripe._object_classes import OBJECT_CLASSES

    return [*OBJECT_CLASSES]


class Dumper(yaml.SafeDumper):
    """Writes every part where it belongs, also where several are the same."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def generate() -> dict[str, str]:
    """The text of each generated file, by its name."""
    tables = {
        "parameters": {rule: parameters(parameters_class(rule), rule) for rule in ROUTES},
        "objects": {path: fields(path) for path in load_table("defaults")["objects"]},
    }
    explanations = {
        "parameters": (
            "# The parameters of each method of the API. An empty string clears one that is\n"
            "# `clearable`. A hash without `fields` is stored as it was sent.\n"
        ),
        "objects": (
            "# The fields of each object, and of the parts of objects that have a template.\n"
            "# `expand` replaces the id in an `expandable` field by its object.\n"
        ),
    }
    return {
        f"{name}.yaml": HEADER
        + explanations[name]
        + "".join(
            "\n" + yaml.dump({key: table[key]}, Dumper=Dumper, default_flow_style=None, width=100)
            for key in sorted(table)
        )
        for name, table in tables.items()
    }


if __name__ == "__main__":
    for name, text in generate().items():
        (DATA / name).write_text(text)
        print(f"wrote {name}")
