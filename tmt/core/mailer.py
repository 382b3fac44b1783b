"""Renders mails from their templates and sends them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment

from tmt.core.i18n import use_locale
from tmt.core.job_runs import Run
from tmt.core.mail_transport import Attachment, Message, Transport, file_name
from tmt.core.templates import mail_environment


class Mailer:
    """Sends the mails of one shop: templates/mail/NAME.{subject.txt,txt,html}, in a locale.

    `seller` says at their end who sells (`Settings.seller`).
    """

    def __init__(
        self, transport: Transport, base_url: str, shop_name: str, seller: Mapping[str, str]
    ) -> None:
        self._transport = transport
        self._domain = domain_of(base_url)
        self._shop_name, self._seller = shop_name, seller
        self._environment: Environment | None = None
        self._run: Run | None = None

    def for_run(self, run: Run) -> Mailer:
        """The same for one run of a job, which learns whether the mail server takes mails."""
        # Costly, so it is shared by all runs.
        self._environment = self._environment or mail_environment()
        mailer = copy(self)
        mailer._run = run
        return mailer

    def send(
        self,
        template: str,
        key: str,
        to: str,
        locale: str,
        context: dict[str, Any],
        attachments: Sequence[Attachment] = (),
    ) -> None:
        """Renders and sends the mail; a mail that is sent again has the same key and Message-ID.

        Nobody is written to where `to` is empty, as in an order whose personal data were erased.
        Raises `MailRefused` or `MailUnavailable`.
        """
        if not to:
            return
        environment = self._environment = self._environment or mail_environment()
        values = {"shop_name": self._shop_name, "seller": self._seller, "locale": locale, **context}
        with use_locale(locale):
            subject, text, html = (
                environment.get_template(f"mail/{template}.{part}").render(values)
                for part in ("subject.txt", "txt", "html")
            )
            seller = environment.get_template("mail/seller.txt").render(values).strip()
        self._transport.send(
            Message(
                to=to,
                subject=subject.strip(),
                text=f"{text.rstrip()}\n\n{seller}\n" if seller else text,
                html=html,
                message_id=message_id(key, self._domain),
                locale=locale,
                attachments=attachments,
            )
        )
        if self._run:
            self._run.answered()


def message_id(key: str, domain: str) -> str:
    """The Message-ID of the mail with this key; the key cannot be read from it."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{domain}>"


def domain_of(base_url: str) -> str:
    """The domain of the shop's Message-IDs."""
    return urlsplit(base_url).hostname or "localhost"


def message_file(folder: Path, key: str, base_url: str) -> Path | None:
    """The file of the mail with this key in a mail folder; None before it is sent."""
    path = folder / file_name(message_id(key, domain_of(base_url)))
    return path if path.exists() else None
