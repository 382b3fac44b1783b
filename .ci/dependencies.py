"""Writes docs/dependencies.md: licence and size of each package in requirements.lock.

From what is installed: `python .ci/dependencies.py`.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "dependencies.md"
HEAD = """# What is shipped

The packages of `requirements.lock` with their licences and sizes as installed (on Linux, in MB).
`requirements.txt` says why each direct one is there. `python .ci/dependencies.py` writes this page.

Those under the LGPL are used as they are, as separate packages; anybody may replace them. The fonts
of `fontpkg-inter` (OFL) and `ttf-opensans` (Apache) are embedded in PDF tickets, which both allow.
So does the licence of Noto's fonts (OFL), which are not shipped.
The style sheets, scripts and icons in `static/` ({static} kB) are the project's own, under its MIT
licence; pages use the fonts of the browser's system. Stripe.js is Stripe's, loaded from its
address, and not shipped.
{missing}
| package | licence | MB | |
| --- | --- | --- | --- |
"""
# Where the metadata say too little, from the licence file.
STATED_ELSEWHERE = {
    "flask-wtf": "BSD-3-Clause",
    "huey": "MIT",
    "itsdangerous": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "segno": "BSD-3-Clause",
    "wtforms": "BSD-3-Clause",
}


def licence(package: metadata.Distribution, name: str) -> str:
    """The licence by its SPDX name where the metadata have it, else as they put it."""
    fields = package.metadata
    text = fields.get("License-Expression") or STATED_ELSEWHERE.get(name) or fields.get("License")
    if text and "\n" not in text.strip():
        return text.strip()
    classifiers = fields.get_all("Classifier") or []
    return ", ".join(c.split(" :: ")[-1] for c in classifiers if c.startswith("License ::"))


def size(package: metadata.Distribution) -> float:
    """Megabytes on disk, without compiled bytecode."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(p.stat().st_size for p in paths if p.is_file() and p.suffix != ".pyc") / 1024**2


def main() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    listed = (ROOT / "requirements.txt").read_text().lower()
    rows, missing, total = [], [], 0.0
    for name in sorted(set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))):
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.append(f"`{name}`")
            continue
        is_direct = re.search(rf"^{re.escape(name)}(\[|==)", listed, re.MULTILINE)
        total += size(package)
        direct = "direct" if is_direct else ""
        rows.append(f"| {name} | {licence(package, name)} | {size(package):.1f} | {direct} |\n")
    elsewhere = f"Installed on other systems only: {', '.join(missing)}.\n" if missing else ""
    shipped = [path for path in (ROOT / "static").rglob("*") if path.is_file()]
    static = round(sum(path.stat().st_size for path in shipped) / 1024)
    TARGET.write_text(
        HEAD.format(missing=elsewhere, static=static)
        + "".join(rows)
        + f"| in all | | {total:.1f} | |\n"
    )


if __name__ == "__main__":
    main()
