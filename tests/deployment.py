"""A shop as operators run it: gunicorn, `flask jobs` and the sandbox, each a process of its own."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import Program, clean_environment, free_port, wait_for
from tmt.config import Settings

WORKER_CLASS, WORKERS, THREADS = "tmt.buffering_worker.BufferingWorker", 2, 4
_LIMITS = """
    ORDERS_PER_ADDRESS ORDERS_PER_EMAIL ORDERS_PER_SESSION ORDERS_IN_ALL
    CONFIRMS_PER_ADDRESS CONFIRMS_PER_ORDER FINDS_PER_ADDRESS API_PER_ADDRESS
    API_CREATES_IN_ALL
"""
# The settings of a shop that never tells anybody to slow down.
UNLIMITED = {f"TMT_{name}": "1000000 per minute" for name in _LIMITS.split()}
UNLIMITED["TMT_UNPAID_PER_ADDRESS"] = "0"


@dataclass
class Deployment:
    """The running shop: addresses, keys, files and processes."""

    folder: Path
    database_url: str
    more: Mapping[str, str]
    app: str = "app"
    port: int = field(default_factory=free_port)
    stripe_port: int = field(default_factory=free_port)
    secret_key: str = field(default_factory=lambda: f"sk_test_{secrets.token_hex(16)}")
    publishable_key: str = field(default_factory=lambda: f"pk_test_{secrets.token_hex(16)}")
    signing_secret: str = field(default_factory=lambda: f"whsec_{secrets.token_hex(16)}")
    web: Program = field(init=False)
    jobs: list[Program] = field(init=False, default_factory=list)
    sandbox: Program = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stripe_url(self) -> str:
        return f"http://127.0.0.1:{self.stripe_port}"

    @property
    def store(self) -> Path:
        """The sandbox's file."""
        return self.folder / "stripe.sqlite"

    @property
    def environment(self) -> dict[str, str]:
        """The shop's settings by the names of their environment variables."""
        return {
            "SECRET_KEY": "only for tests, and long enough",
            "DATABASE_URL": self.database_url,
            "STRIPE_SECRET_KEY": self.secret_key,
            "STRIPE_PUBLISHABLE_KEY": self.publishable_key,
            "STRIPE_WEBHOOK_SECRET": self.signing_secret,
            "STRIPE_API_BASE": self.stripe_url,
            "TMT_BASE_URL": self.url,
            "TMT_INSTANCE": str(self.folder / "instance"),
            **self.more,
        }

    @property
    def overrides(self) -> dict[str, str]:
        """The same settings by field name, for `create_app` in a process of the tests."""
        environment = self.environment
        names = {str(info.validation_alias): field for field, info in Settings.model_fields.items()}
        return {names[name]: value for name, value in environment.items()}

    @property
    def shop_programs(self) -> list[Program]:
        return [self.web, *self.jobs]

    def change_settings(self, more: Mapping[str, str]) -> None:
        """Settings for the processes that are started from now on."""
        self.more = {**self.more, **more}
        for program in self.shop_programs:
            program.environment = self.environment

    def flask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the shop's in its own environment."""
        return subprocess.run(
            [*_flask(self.app), *command],
            cwd=self.folder,
            env=clean_environment() | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def deploy(
    folder: Path,
    database_url: str,
    settings: Mapping[str, str] | None = None,
    *,
    app: str = "app",
    factory: str = "app:app",
    workers: int = WORKERS,
    threads: int = THREADS,
    jobs: int = 1,
    sandbox: bool = True,
) -> Iterator[Deployment]:
    """Starts a shop on a migrated database; every process ends with the block.

    `app` is the module that holds the application, `factory` what gunicorn is told to load.
    """
    shop = Deployment(folder, database_url, settings or {}, app)
    folder.mkdir(parents=True, exist_ok=True)
    # The sandbox reads its keys from beside its store.
    keys = (shop.secret_key, shop.publishable_key, shop.signing_secret)
    Path(f"{shop.store}.keys").write_text("\n".join(keys))
    command = [sys.executable, "-m", "tmt.sandbox", "--port", str(shop.stripe_port)]
    command += ["--store", str(shop.store), "--webhook", f"{shop.url}/stripe_webhook"]
    shop.sandbox = Program("stripe", command, folder, {})
    shop.web = gunicorn(factory, folder, shop.port, shop.environment, workers, threads)
    shop.jobs = [
        Program(f"jobs-{number}", [*_flask(app), "jobs"], folder, shop.environment)
        for number in range(jobs)
    ]
    with ExitStack() as closing:
        if sandbox:
            closing.callback(shop.sandbox.stop)
            shop.sandbox.start()
            wait_for(f"{shop.stripe_url}/clock", shop.sandbox)
        for program in shop.shop_programs:
            closing.callback(program.stop)
            program.start()
        wait_for(f"{shop.url}/healthz", shop.web)
        yield shop


def gunicorn(
    factory: str,
    folder: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> Program:
    """A gunicorn on the application, to be started; there must be no `.env` in the folder."""
    command = [sys.executable, "-m", "gunicorn", factory, "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", WORKER_CLASS, "--workers", str(workers)]
    command += ["--threads", str(threads), "--keep-alive", "30", "--timeout", "60"]
    return Program("web", [*command, "--no-control-socket"], folder, environment or {})


def _flask(app: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", app]
