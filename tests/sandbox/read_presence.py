"""Reads from the types of the npm package `stripe` which fields may be absent, and which null.

`python -m tests.sandbox.read_presence NODE_MODULES` writes presence.yaml, for the version of the
API that the sandbox speaks. The types of the Python SDK do not tell an absent field from null.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tmt.sandbox.objects import API_VERSION, load_table

FILE = Path(__file__).parent / "presence.yaml"
_BLOCK = re.compile(r"\s*(?:export )?(?:declare )?(interface|namespace) (\w+)[^{]*\{(\})?$")
# The type of a map begins in the line of its field and ends in another.
_FIELD = re.compile(r"\s*'?(\w+)'?(\?)?: (.*;|\{)$")
_DEPTH = 6
# Names of types that are not those of their kinds.
_SPELLINGS = {"invoiceitem": "InvoiceItem", "line_item": "InvoiceLineItem"}
_FOLDERS = ("", "Radar", "TestHelpers")
Interfaces = dict[str, dict[str, tuple[bool, str]]]


def read_interfaces(folder: Path) -> Interfaces:
    """Each interface by its full name: for each field whether it may be absent, and its type."""
    interfaces: Interfaces = {}
    files = [f for part in _FOLDERS for f in sorted((folder / part).glob("*.d.ts"))]
    for file in [folder.parent / "shared.d.ts", *files]:
        # Names of other families, such as Issuing.Dispute, would hide those of the sandbox.
        prefix = f"{file.parent.name}." if file.parent.parent == folder else ""
        scope: list[str] = []
        for line in file.read_text().splitlines():
            if block := _BLOCK.match(line):
                if block[1] == "interface":
                    interfaces[prefix + ".".join([*scope, block[2]])] = {}
                if not block[3]:
                    scope.append(block[2])
            elif line.strip() == "}" and scope:
                scope.pop()
            elif scope and (field := _FIELD.match(line)):
                own = interfaces.get(prefix + ".".join(scope))
                if own is not None:
                    own[field[1]] = (bool(field[2]), field[3])
    return interfaces


def presence(interfaces: Interfaces, kinds: list[str], simulated: set[str]) -> dict[str, Any]:
    """For each object and each part of one: the names of the fields that may be absent or null."""
    methods = {
        name
        for name in interfaces["PaymentMethod"]
        if f"PaymentMethod.{_camel(name)}" in interfaces
    } - {"billing_details", "radar_options"}
    table: dict[str, Any] = {}

    def visit(path: str, name: str) -> None:
        fields = {
            field: row
            for field, row in interfaces[name].items()
            if field not in methods - simulated or ("." not in path and path != "payment_method")
        }
        row = {
            "absent": " ".join(field for field, (absent, _) in fields.items() if absent),
            "null": " ".join(f for f, (_, type) in fields.items() if type.endswith("| null;")),
        }
        table[path] = {key: names for key, names in row.items() if names}
        for field, (_, type) in fields.items():
            for word in re.findall(r"[\w.]+", type):
                for full in (f"{name.rpartition('.')[0]}.{word}", word):
                    if full in interfaces and full != name and path.count(".") < _DEPTH:
                        if not {"object", "id"} <= interfaces[full].keys():
                            visit(f"{path}.{field}", full)
                        break

    for kind in kinds:
        # The SDK has one type for each type of event, all of which begin with the same fields.
        visit(kind, "EventBase" if kind == "event" else _camel(kind))
    return table


def _camel(kind: str) -> str:
    return _SPELLINGS.get(kind) or ".".join(
        part.title().replace("_", "") for part in kind.split(".")
    )


if __name__ == "__main__":
    package = Path(sys.argv[1]) / "stripe"
    version = (package / "esm" / "apiVersion.js").read_text()
    if API_VERSION not in version:
        raise SystemExit(f"{package} is not for {API_VERSION}: {version}")
    defaults = load_table("defaults")["objects"]
    kinds = [kind for kind, row in defaults.items() if "id_prefix" in row or kind == "balance"]
    methods = {*load_table("simulated_methods")["kinds"]}
    table = presence(read_interfaces(package / "esm" / "resources"), kinds, methods)
    release = (package / "VERSION").read_text().strip()
    header = (
        f"# Read from the types of the npm package stripe {release} ({API_VERSION});\n"
        "# do not edit it, run `python -m tests.sandbox.read_presence`.\n"
    )
    FILE.write_text(header + yaml.safe_dump({k: v for k, v in table.items() if v}, width=100))
