"""The environment and `.env`, read once into `Settings`.

`.env` and relative paths belong to the folder of `app.py`, wherever a command is typed. Nobody
else reads the environment.
"""

from __future__ import annotations

import difflib
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values, find_dotenv
from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from sqlalchemy import make_url

from tmt.config import InvalidSettings, Settings
from tmt.core.addresses import is_local

ROOT = Path(__file__).parent.parent
DEFAULT_ADDRESS = "http://127.0.0.1:5000"
# Where each `flask run` leaves its address, in the instance folder: a line each, the newest last.
_ADDRESS_FILE = "address"
_MAX_ADDRESSES = 8
# For `load_settings` in any flask command but `flask run`: wherever that one serves.
LEFT_ADDRESS = "left by flask run"


def load_settings(overrides: dict[str, Any] | None = None, *, flask_run: str = "") -> Settings:
    """The settings of this process, or `InvalidSettings` with what to set.

    `overrides` are settings by field name and win over the environment. `flask_run` is the
    address at which `flask run` is about to serve, `LEFT_ADDRESS` in its other commands, and empty
    elsewhere: with it, a shop without a Stripe key becomes a sandbox.
    """
    try:
        if flask_run:
            _refuse_foreign_dotenv()
        values = {
            _names(Settings.model_fields[field])[0]: value
            for field, value in (overrides or {}).items()
        }
        settings = Settings(_env_file=ROOT / ".env", **values)  # type: ignore[call-arg]
        return _complete(settings, flask_run)
    except ValidationError as error:
        raise InvalidSettings(_readable(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidSettings(
            f"A file named .env is not in UTF-8 (byte {error.start + 1} of it): save it as UTF-8."
            f" The shop's is {ROOT / '.env'}."
        ) from None
    except OSError as error:
        raise InvalidSettings(f"{error.filename or ROOT}: {error.strerror or error}") from None


def unknown_settings() -> list[str]:
    """A sentence for each variable that looks like a setting and is none, such as a typing error.

    Each that begins with TMT_; of the others, those that nearly are a setting.
    """
    all_names = {name for field in Settings.model_fields.values() for name in _names(field)}
    sentences = []
    for name in sorted(_set_names() - all_names):
        is_ours = name.startswith("TMT_")
        close = difflib.get_close_matches(name, all_names, n=1, cutoff=0.6 if is_ours else 0.9)
        if close:
            sentences.append(f"{name} is not a setting: did you mean {close[0]}?")
        elif is_ours:
            sentences.append(f"{name} is not a setting; .env.example lists them all")
    return sentences


def renamed_settings() -> list[str]:
    """A sentence for each setting that the environment or `.env` sets under its old name."""
    names = {name.lower() for name in _set_names()}
    sentences = []
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            name, old_name = field.validation_alias.choices
            if str(old_name).lower() in names:
                sentences.append(f"{old_name} is now {name}; the old name still works")
    return sentences


def _set_names() -> set[str]:
    """The names of all variables of the environment and of `.env`."""
    of_file = DotEnvSettingsSource(Settings, env_file=ROOT / ".env").env_vars
    return {name.upper() for name in EnvSettingsSource(Settings).env_vars.keys() | of_file}


def _names(field: FieldInfo) -> list[str]:
    """The setting's name, and its old one if it has one."""
    alias = field.validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [str(name) for name in names]


def _refuse_foreign_dotenv() -> None:
    """Refuses the settings of another `.env`, which `flask` reads from the current folder.

    It puts them into the environment, so that they look like the shop's own.
    """
    other = find_dotenv(usecwd=True)
    if not other or Path(other).resolve() == (ROOT / ".env").resolve():
        return
    environment = EnvSettingsSource(Settings).env_vars
    foreign, own = dotenv_values(other), dotenv_values(ROOT / ".env")
    all_names = {name for field in Settings.model_fields.values() for name in _names(field)}
    names = sorted(
        name
        for name, value in foreign.items()
        if name in all_names and value and environment.get(name.lower()) == value != own.get(name)
    )
    if names:
        raise InvalidSettings(
            f"{', '.join(names)} would be taken from {other}, the .env of the folder that this"
            f" command is typed in. The shop's is {ROOT / '.env'}: run the command in {ROOT}, or"
            " with FLASK_SKIP_DOTENV=1."
        )


def _complete(settings: Settings, flask_run: str) -> Settings:
    """Fills in what a mode decides: the sandbox's keys, paths of files, the public address."""
    instance = _under_root(settings.instance).resolve()
    sandbox = settings.sandbox
    if sandbox is None:
        sandbox = bool(flask_run) and not settings.stripe_secret_key
    if flask_run == LEFT_ADDRESS:
        flask_run = left_address(instance)
    base_url = settings.base_url or flask_run or (DEFAULT_ADDRESS if sandbox else "")
    values: dict[str, Any] = {
        "instance": instance,
        "sandbox": sandbox,
        "base_url": base_url,
        "database_url": _absolute(settings.database_url),
    }
    if sandbox:
        publishable_key = _persistent_secret(instance, "sandbox-publishable-key")
        signing_secret = _persistent_secret(instance, "sandbox-webhook-secret")
        values |= {
            "stripe_secret_key": f"sk_test_{_persistent_secret(instance, 'sandbox-secret-key')}",
            "stripe_publishable_key": f"pk_test_{publishable_key}",
            "stripe_webhook_secrets": (f"whsec_{signing_secret}",),
            "stripe_api_base": f"{base_url}/sandbox",
        }
    if not settings.secret_key and (sandbox or flask_run):
        values["secret_key"] = _persistent_secret(instance, "secret-key")
    completed = settings.model_copy(update=values)
    _require_complete(completed)
    return completed


def left_address(instance: Path) -> str:
    """Where `flask run` on this instance folder serves, or served last; its default before that.

    Of several, the newest that somebody listens at.
    """
    addresses = _left_addresses(instance)[::-1]
    serving = filter(_is_open, addresses) if len(addresses) > 1 else iter(addresses)
    return next(serving, addresses[0] if addresses else DEFAULT_ADDRESS)


def leave_address(instance: Path, address: str) -> None:
    """Notes where `flask run` serves, for other commands. Raises `OSError`."""
    others = [other for other in _left_addresses(instance) if other != address]
    _write_addresses(instance, [*others, address][-_MAX_ADDRESSES:])


def take_address_back(instance: Path, address: str) -> None:
    """Removes the address of a `flask run` that ends, unless it is the only one."""
    addresses = _left_addresses(instance)
    if address in addresses and len(addresses) > 1:
        with suppress(OSError):
            _write_addresses(instance, [other for other in addresses if other != address])


def _left_addresses(instance: Path) -> list[str]:
    file = instance / _ADDRESS_FILE
    lines = file.read_text(errors="replace").split() if file.exists() else []
    return [line for line in lines if line.startswith(("http://", "https://"))]


def _write_addresses(instance: Path, addresses: list[str]) -> None:
    (instance / _ADDRESS_FILE).write_text("".join(f"{address}\n" for address in addresses))


def _is_open(address: str) -> bool:
    url = urlsplit(address)
    with suppress(OSError, ValueError):
        port = url.port or (443 if url.scheme == "https" else 80)
        with socket.create_connection((url.hostname or "", port), timeout=1):
            return True
    return False


def _absolute(database_url: str) -> str:
    """The address with an SQLite file's path from the folder of `app.py`."""
    if not database_url.startswith("sqlite"):
        return database_url
    url = make_url(database_url)
    if not url.database or url.database.startswith(("file:", ":memory:")):
        return database_url
    return url.set(database=str(_under_root(url.database))).render_as_string(hide_password=False)


def _under_root(path: str | Path) -> Path:
    """The path from the folder of `app.py`, with the home that a ~ stands for."""
    try:
        return ROOT / Path(path).expanduser()
    except RuntimeError:
        raise InvalidSettings(f"{path}: there is no home folder of this user") from None


def _require_complete(settings: Settings) -> None:
    if not settings.stripe_secret_key:
        raise InvalidSettings(
            "No Stripe key is set. Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY, or"
            " TMT_SANDBOX=1 for a shop in which no real money is charged."
        )
    if not settings.secret_key:
        raise InvalidSettings(
            "SECRET_KEY is not set. Set it to a long random text, the same for every process:"
            ' python -c "import secrets; print(secrets.token_hex(32))"'
        )
    if not settings.base_url:
        raise InvalidSettings(
            "TMT_BASE_URL is not set. Set it to the shop's public address, such as"
            " https://tickets.example.org: links in mails begin with it."
        )
    if settings.sandbox and not settings.sandbox_public:
        public = urlsplit(settings.base_url).hostname
        if not is_local(public):
            raise InvalidSettings(
                f"TMT_BASE_URL names {public}, and the sandbox answers this machine only: nobody"
                " could pay. Set TMT_SANDBOX_PUBLIC=1 to let other machines use the sandbox."
            )


def _persistent_secret(instance: Path, name: str) -> str:
    """A random text that survives restarts, in a file that only its owner can read."""
    path = instance / "keys" / name
    try:
        return _read_or_make(path)
    except OSError as error:
        # A full disk is reported without a name.
        raise InvalidSettings(
            f"{error.filename or path} cannot be used: {error.strerror or error}. TMT_INSTANCE must"
            " be a folder that this user may write to and that has free space."
        ) from None


def _read_or_make(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(24))
        # Another process may have written it first: then its text counts.
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        except OSError:
            # Some file systems have no hard links. Then the last of several first starts wins.
            if not path.exists():
                draft.replace(path)
        draft.unlink(missing_ok=True)
    return path.read_text().strip()


def _readable(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        text = str(item["msg"]).removeprefix("Value error, ")
        lines.append(f"{name}: {text}" if name else text)
    return "\n".join(lines)
