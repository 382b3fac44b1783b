"""Starting: what cannot work is one sentence, and what is said at start is true."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, free_port, wait_for
from tests.test_boot import flask_run

LIVE = {
    "STRIPE_SECRET_KEY": "sk_test_start",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_start",
    "SECRET_KEY": "only for tests, and long enough",
    "TMT_BASE_URL": "https://tickets.example.org",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of another app.py, with this code."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("tmt", "templates", "static"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("app.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    return folder


def start(
    home: Path,
    *words: str,
    folder: Path | None = None,
    stdout: Any = subprocess.PIPE,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    if words[0] == "flask":
        command[3:3] = ["--app", str(home / "app.py")]
    return subprocess.run(
        command,
        cwd=folder or home,
        env={"PATH": "/usr/bin:/bin", **settings},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


BAD = {
    "missing file": ({"DATABASE_URL": "sqlite:////{folder}/none.sqlite"}, "There is no database"),
    "empty file": ({"DATABASE_URL": "sqlite:////{folder}/empty"}, "Run flask db upgrade."),
    "no database": ({"DATABASE_URL": "sqlite:////{folder}/text"}, "no SQLite file"),
    "newer": ({"DATABASE_URL": "sqlite:////{folder}/newer"}, "at revision 9999, which a newer"),
    "dead": ({"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "does not answer"),
    "scheme": ({"DATABASE_URL": "mysql://u:secret@h/x"}, "DATABASE_URL: it must be"),
    "nonsense": ({"DATABASE_URL": "secret"}, "DATABASE_URL: it must be"),
    "no folder": ({"TMT_INSTANCE": "/dev/null/x", "DATABASE_URL": ""}, "TMT_INSTANCE must"),
    "sender": ({"MAIL_DEFAULT_SENDER": "nobody"}, "MAIL_DEFAULT_SENDER: the sender"),
    "queue": ({"TMT_JOBS_URL": "amqp://secret@h"}, "TMT_JOBS_URL: it must begin"),
}


@pytest.mark.parametrize(
    ("program", "name"),
    [
        *(("audit", name) for name in BAD if name != "newer"),
        *(("run", name) for name in ("no database", "newer", "dead", "no folder")),
        ("db upgrade", "newer"),
        *(("gunicorn", name) for name in ("missing file", "empty file", "dead", "scheme")),
        ("refund ABCD2345", "empty file"),
    ],
)
def test_what_cannot_work_is_one_sentence(home: Path, program: str, name: str) -> None:
    settings, sentence = BAD[name]
    (home / "empty").touch()
    (home / "text").write_text("no database " * 100)
    with sqlite3.connect(home / "newer") as newer:
        newer.execute("CREATE TABLE alembic_version AS SELECT '9999' AS version_num")
    values = {key: text.replace("{folder}", str(home)[1:]) for key, text in settings.items()}
    port = str(free_port())
    words = ["flask", *program.split()]
    if program == "gunicorn":
        words = ["gunicorn", "--bind", f"127.0.0.1:{port}", "app:app"]
        values |= {"TMT_SANDBOX": "1", "SECRET_KEY": "x" * 32}
    elif program == "run":
        words += ["--port", port]
    ended = start(home, *words, **values)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert (ended.returncode, len(errors)) == (1, 1), ended.stderr
    assert sentence in errors[0]
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr.replace("secret@127", "")


def test_commands_from_elsewhere_use_the_shops_folder(home: Path, tmp_path: Path) -> None:
    (home / ".env").write_text("TMT_INSTANCE=data\nTMT_BASEURL=x\n")
    assert start(home, "flask", "db", "upgrade", LANGUAGE="en_US:en").returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    audit = start(home, "flask", "audit", "--offline", folder=elsewhere)
    assert audit.stdout == "sound\n"
    with (home / ".env").open() as not_for_writing:
        export = start(home, "flask", "catalog", "export", stdout=not_for_writing)
    assert export.returncode == 1
    assert export.stderr.endswith("\nError: Bad file descriptor\n")
    assert f"Database: {home}/data/tmt-sandbox.sqlite (sandbox)" in audit.stderr.splitlines()
    assert "TMT_BASEURL is not a setting: did you mean TMT_BASE_URL?" in audit.stderr
    assert list(elsewhere.iterdir()) == []
    # Flask itself reads this one into the environment.
    (elsewhere / ".env").write_text("SECRET_KEY=another-program\n")
    refusal = start(home, "flask", "audit", folder=elsewhere)
    assert refusal.returncode == 1
    assert f"SECRET_KEY would be taken from {elsewhere}/.env" in refusal.stderr


def test_the_address_is_said_once_it_is_true_and_found_by_other_commands(tmp_path: Path) -> None:
    with flask_run(tmp_path) as (address, output):
        wait_for(address)
        while "is open at" not in output.read_text():
            wait_for(address)
        assert f"is open at {address}\n" in output.read_text()
        port = address.rpartition(":")[2]
        second = start(ROOT, "flask", "run", "--port", port, TMT_INSTANCE=str(tmp_path / "other"))
        assert second.returncode == 1
        assert "is open at" not in second.stdout
        # One that serves the same shop for a while and is gone.
        (tmp_path / "while").mkdir()
        with flask_run(tmp_path / "while", TMT_INSTANCE=str(tmp_path / "instance")) as (_, note):
            while "is open at" not in note.read_text():
                wait_for(address)
        advance = start(
            ROOT, "flask", "sandbox", "advance", "1d", TMT_INSTANCE=str(tmp_path / "instance")
        )
    assert advance.returncode == 0, advance.stderr


def test_an_empty_catalogue_and_a_missing_webhook_secret_are_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    settings = LIVE | {"DATABASE_URL": url, "TMT_INSTANCE": str(tmp_path)}
    # Nobody answers there, so that nothing is asked.
    settings |= {"STRIPE_API_BASE": "http://127.0.0.1:1"}
    assert start(ROOT, "flask", "db", "upgrade", **settings).returncode == 0
    finished = subprocess.run(
        [sys.executable, str(ROOT / "app.py")], env=settings, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert "Note: STRIPE_WEBHOOK_SECRET is not set" in finished.stderr
    assert "Note: The catalogue has no event to sell" in finished.stderr


def test_an_older_python_is_refused_with_a_sentence() -> None:
    head = (ROOT / "app.py").read_text().partition("from tmt")[0]
    code = "import sys; sys.version_info = (3, 9)\n" + head
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr[:31]) == (1, "TMT needs Python 3.11 or newer;")
