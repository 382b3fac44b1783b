"""The documentation is true: what it names exists, and what operators can see is named in it.

Settings, commands, metrics, log events, file paths, links, and the functions that are said to be in
a file. CHANGELOG.md is history and is not checked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from flask import Flask
from prometheus_client import REGISTRY

import tmt.config
from tmt import cli
from tmt.billing.webhook_handlers import HANDLERS
from tmt.config import Settings

ROOT = Path(__file__).parent.parent
DOCS = [
    ROOT / ".env.example",
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
OPERATIONS = ROOT / "docs" / "operations.md"
_RENAMED = "## Names that changed"

_SETTING = re.compile(
    r"\b(?:(?:TMT|STRIPE|MAIL)_[A-Z_]+[A-Z]|SECRET_KEY|DATABASE_URL|PROMETHEUS_[A-Z_]+)\b"
)
_SPAN = re.compile(r"`([^`\n]+)`")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)")
_PATH = re.compile(
    r"(?:tmt|tests|docs|static|templates|\.ci)/[\w./*-]*"
    r"|[\w.-]+\.(?:py|md|toml|lock|css|js)|requirements[\w.*-]*\.txt|\.env\.example|justfile"
)
# "`name` in `path`", "`name` and `other` in `path`", "`name` (`path`)".
_PLACE = re.compile(
    r"(?P<names>`[\w.]+`(?:(?:,| and|, and) `[\w.]+`)*),? (?:in |\()`(?P<path>[\w./]+\.(?:py|js))`"
)
# What a word after `flask` may be without being one of the shop's commands.
_FLASKS_OWN = {"run"}
# Files of operators and of the shop at work.
_NOT_OURS = re.compile(r"^instance/|^(tmt|events|copy|jobs|limits)\.(sqlite|yaml)$|\bNAME\.")


@cache
def text_of(path: Path) -> str:
    """A document, without the names of before in the table of what was renamed."""
    text = path.read_text()
    head, mark, renamed = text.partition(_RENAMED)
    return head + mark + re.sub(r"^\| [^|]* \|", "| |", renamed, flags=re.MULTILINE)


def code_in(path: Path) -> Iterator[str]:
    """What a document sets as code, line by line, comments left out."""
    text = text_of(path)
    for block in _BLOCK.findall(text):
        yield from (line.split(" #")[0].strip() for line in block.splitlines())
    yield from _SPAN.findall(_BLOCK.sub("", text))


def everywhere(pattern: re.Pattern[str]) -> dict[str, str]:
    """Each match in the documents, with the name of one that has it."""
    return {match: path.name for path in DOCS for match in pattern.findall(text_of(path))}


# --- settings -----------------------------------------------------------------------------------


def settings() -> set[str]:
    return {str(field.alias) for field in Settings.model_fields.values()}


def test_every_setting_that_docs_name_exists() -> None:
    # A constant of tmt/config.py may be named like a setting, and the tests read one of their own.
    others = {*vars(tmt.config), "STRIPE_CONTRACT_KEY"}
    unknown = {
        name: path for name, path in everywhere(_SETTING).items() if name not in settings() | others
    }
    assert unknown == {}


def test_every_setting_is_in_the_operators_table() -> None:
    assert settings() - set(_SETTING.findall(section("All settings"))) == set()


# --- commands -----------------------------------------------------------------------------------


@cache
def commands() -> click.Group:
    app = Flask("docs")
    cli.init_app(app)
    return app.cli


def leaves(group: click.Group, *path: str) -> Iterator[str]:
    """Every command that is shown, by its words."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name))


def problem_with(line: str) -> str | None:
    """What is wrong with a command line that begins with "flask", if anything."""
    words = line.split()[1:]
    if not words or words[0] in _FLASKS_OWN:
        return None
    command: click.Command = commands()
    while isinstance(command, click.Group) and words and words[0][0] not in "-…":
        child = command.commands.get(words[0])
        if child is None:
            return f"no command {line}"
        command, words = child, words[1:]
    options = {opt for param in command.params for opt in param.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word not in options]
    return f"{line}: no option {', '.join(unknown)}" if unknown else None


def test_every_command_that_docs_name_exists() -> None:
    problems = [
        f"{path.name}: {problem}"
        for path in DOCS
        for code in code_in(path)
        for line in re.findall(r"\bflask [a-z](?:(?!, or )[^`])*", code)
        if (problem := problem_with(line))
    ]
    assert problems == []


def test_every_command_is_in_the_operators_table() -> None:
    named = set(re.findall(r"`flask ([a-z -]+)`", section("All commands")))
    groups = {name for name, one in commands().commands.items() if isinstance(one, click.Group)}
    assert set(leaves(commands())) - named == set()
    assert named - set(leaves(commands())) - groups - _FLASKS_OWN == set()


# --- metrics ------------------------------------------------------------------------------------


def metrics() -> set[str]:
    """Counters and histograms of the process, and gauges that are written by hand."""
    counted = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("tmt_")
    }
    sources = "".join(path.read_text() for path in (ROOT / "tmt").rglob("*.py"))
    return counted | set(re.findall(r"# TYPE (tmt_\w+)", sources))


def test_every_metric_that_docs_name_exists() -> None:
    unknown = {
        name: path
        for name, path in everywhere(re.compile(r"\btmt_[a-z_]+[a-z]\b")).items()
        if name not in metrics()
    }
    assert unknown == {}


def test_every_metric_is_in_the_operators_table() -> None:
    assert metrics() - set(re.findall(r"\btmt_\w+", section("Metrics"))) == set()


# --- log events ---------------------------------------------------------------------------------


@cache
def log_events() -> set[str]:
    """Every log event of the shop, a part that is filled in as `*`; the sandbox has no log."""
    events = set()
    for path in (ROOT / "tmt").rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and is_log_call(node.func):
                events |= event_names(node.args[0])
    return events


def is_log_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "write"
    return (
        isinstance(function, ast.Attribute)
        and function.attr in {"debug", "info", "warning", "error", "exception"}
        and isinstance(function.value, ast.Name)
        and function.value.id in {"log", "logger"}
    )


def event_names(argument: ast.expr) -> set[str]:
    if isinstance(argument, ast.Constant):
        return {str(argument.value)}
    assert isinstance(argument, ast.JoinedStr), ast.unparse(argument)
    name = "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in argument.values)
    return (
        {name.replace("*", table, 1) for table in ("inbox", "outbox")} if name[0] == "*" else {name}
    )


def matches(name: str, events: set[str]) -> bool:
    """Whether it is an event; a queue's `inbox.*` stands for each of its outcomes."""
    return name in events or f"{name.split('.')[0]}.*" in events


def test_every_log_event_that_docs_name_exists() -> None:
    events, prefixes = log_events(), {event.split(".")[0] for event in log_events()}
    operations = [code for code in code_in(OPERATIONS) if re.fullmatch(r"[a-z]+\.[a-z_*]+", code)]
    unknown = [
        code
        for code in operations
        if code.split(".")[0] in prefixes
        and not (code in HANDLERS or _NOT_OURS.search(code) or matches(code, events))
    ]
    assert unknown == []


def test_every_log_event_is_in_the_operators_table() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", section("Log events"), re.MULTILINE)
    listed = {name for row in rows for name in _SPAN.findall(row)}
    queues = {"inbox.*": "inbox.handled", "outbox.*": "outbox.done"}
    assert {queues.get(event, event) for event in log_events()} - listed == set()
    assert {name for name in listed if not matches(name, log_events())} == set()


# --- paths and places ---------------------------------------------------------------------------


@cache
def file_names() -> set[str]:
    folders = ("tmt", "tests", "docs", "static", ".ci")
    within = {path.name for folder in folders for path in (ROOT / folder).rglob("*")}
    return within | {path.name for path in ROOT.iterdir()}


def exists(name: str) -> bool:
    """Whether there is such a path, or, for a bare name, a file of that name anywhere."""
    if "*" in name:
        return any(ROOT.glob(name))
    return (ROOT / name).exists() or ("/" not in name and name in file_names())


def test_every_path_that_docs_name_exists() -> None:
    missing = {
        f"{path.name}: {word}"
        for path in DOCS
        for code in code_in(path)
        for word in code.split()
        if _PATH.fullmatch(word) and not _NOT_OURS.search(word) and not exists(word)
    }
    assert missing == set()


def test_every_link_leads_somewhere() -> None:
    broken = {
        f"{path.name}: {target}"
        for path in DOCS
        for target in _LINK.findall(text_of(path))
        if "://" not in target and not (path.parent / target).exists()
    }
    assert broken == set()


def test_what_docs_place_in_a_file_is_there() -> None:
    misplaced = []
    for path in DOCS:
        for place in _PLACE.finditer(text_of(path).replace("\n", " ")):
            source = ROOT / place["path"]
            if "/" not in place["path"]:
                continue
            for name in _SPAN.findall(place["names"]):
                word = name.rpartition(".")[2]
                if not source.exists() or not re.search(rf"\b{word}\b", source.read_text()):
                    misplaced.append(f"{path.name}: {name} in {place['path']}")
    assert misplaced == []


def test_every_package_and_document_is_named() -> None:
    architecture = text_of(ROOT / "docs" / "architecture.md")
    packages = {path.parent.name for path in (ROOT / "tmt").glob("*/__init__.py")}
    assert {name for name in packages if f"`tmt/{name}/`" not in architecture} == set()
    locked = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    shipped = text_of(ROOT / "docs" / "dependencies.md")
    assert {
        name for name in locked if f"| {name} |" not in shipped and f"`{name}`" not in shipped
    } == set()


# --- the checks themselves ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("flask alerts resolve 12", None),
        ("flask sandbox advance 5d", None),
        ("flask refund 7KQ2MXPA --tickets 2,3", None),
        ("flask nonsense", "no command"),
        ("flask alerts nonsense", "no command"),
        ("flask audit --nonsense", "no option"),
    ],
)
def test_the_check_of_commands_can_fail(line: str, problem: str | None) -> None:
    assert (problem or "None") in str(problem_with(line))


def test_the_checks_look_at_something() -> None:
    assert len(everywhere(_SETTING)) > 40
    assert len(metrics()) > 7
    assert len(log_events()) > 30
    assert sum(1 for path in DOCS for _place in _PLACE.finditer(text_of(path))) > 60
    assert not exists("tmt/nonsense.py")
    assert not matches("order.nonsense", log_events())


def section(title: str) -> str:
    """A section of docs/operations.md."""
    _before, mark, after = text_of(OPERATIONS).partition(f"\n## {title}\n")
    assert mark, title
    return after.split("\n## ")[0]
