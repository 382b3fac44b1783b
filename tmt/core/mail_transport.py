"""Mail: a message, its MIME form (RFC 5322, 2045), and the two ways it leaves the house.

Errors say what the mail server answered by number only: its text tends to repeat the address,
and an address must not reach a log.
"""

from __future__ import annotations

import hashlib
import os
import re
import smtplib
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from pathlib import Path
from typing import Protocol

import idna

from tmt.core.errors import PermanentFailure

# RFC 3463: class.subject.detail, at the beginning of a server's answer.
_ENHANCED_CODE = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SENDER = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>")
# Seven bits, because a mail server need not take eight (RFC 6152), and smtplib does not ask.
_SEVEN_BIT = SMTP.clone(cte_type="7bit")
_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>", re.ASCII)
# RFC 5321, 4.2.3: 552 is about the size of this message even where it answers the sender.
_TOO_BIG = 552


class MailRefused(PermanentFailure):
    """This message will never be delivered: sending it again is pointless."""


class MailUnavailable(Exception):
    """The message could not be handed over now: it should be sent again later."""


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a message; `mime_type` is such as 'application/pdf'."""

    filename: str
    content: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True)
class Message:
    """A mail to one person, as text and as HTML.

    `to` and `reply_to` are bare addresses; `message_id` ('<left@right>') is the same for every
    attempt to send the same mail; `locale` is the language it is written in. Its repr tells
    nothing about the person.
    """

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str
    locale: str
    attachments: Sequence[Attachment] = ()
    reply_to: str | None = field(default=None, repr=False)


class Transport(Protocol):
    """A way to send mail. Each `send` stands for itself and may run in any thread."""

    def send(self, message: Message) -> str | None:
        """Hands the message over; gives the name under which it can be looked at, if any.

        Raises `MailRefused` or `MailUnavailable`.
        """

    def check(self) -> None:
        """Goes as far as it can without a message; `MailUnavailable` when none could be sent."""


def build(message: Message, sender: str) -> EmailMessage:
    """The MIME form: text and HTML as alternatives, attachments beside them.

    It can carry no header that is not meant: line breaks and other control characters in the
    subject and in file names become blanks; in an address or a Message-ID they raise
    `MailRefused`, as does anything else that is no address. A `sender` that is neither an address
    nor 'Name <address>' raises `ValueError`. 'Auto-Submitted' (RFC 3834) keeps holiday notices
    away.
    """
    if not _MESSAGE_ID.fullmatch(message.message_id):
        raise MailRefused("the Message-ID is not of the form <left@right>")
    mail = EmailMessage(policy=_SEVEN_BIT)
    mail["From"] = _sender_address(sender)
    mail["To"] = _address(message.to, "recipient")
    if message.reply_to:
        mail["Reply-To"] = _address(message.reply_to, "reader of answers")
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = localtime()
    mail["Message-ID"] = message.message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for attachment in message.attachments:
        maintype, _, subtype = attachment.mime_type.partition("/")
        # Text without a charset would be read as ASCII.
        params = {"charset": "utf-8"} if maintype == "text" else None
        mail.add_attachment(
            attachment.content,
            maintype=maintype,
            subtype=subtype,
            filename=_one_line(attachment.filename),
            params=params,
        )
    # Last, because content that is set replaces what is said about content.
    mail["Content-Language"] = message.locale
    return mail


class FolderTransport:
    """Puts each mail into a folder as an .eml file that any mail program opens.

    The file is named after the Message-ID, so that the same mail is there once however often it
    is sent, and is readable by this user only. A `sender` that is none raises `ValueError`.
    """

    def __init__(self, folder: Path, sender: str) -> None:
        self.folder = folder
        self.sender = checked_sender(sender)

    def send(self, message: Message) -> str:
        """Writes the file, whole or not at all, and gives its name."""
        content = build(message, self.sender).as_bytes()
        name = file_name(message.message_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(content, self.folder / name)
        except OSError as error:
            raise self._unwritable(error) from error
        return name

    def check(self) -> None:
        """Whether the folder can be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part"):
                pass
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> MailUnavailable:
        return MailUnavailable(f"the mail folder {self.folder} cannot be written: {error.strerror}")

    def _write(self, content: bytes, target: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink()
                raise


def file_name(message_id: str) -> str:
    """The name of the mail's file in a folder."""
    return hashlib.sha256(message_id.encode()).hexdigest()[:32] + ".eml"


class SmtpTransport:
    """Hands each mail to a mail server, over a connection of its own.

    `use_tls` upgrades the connection with STARTTLS and refuses to go on without it; `use_ssl`
    speaks TLS from the first byte. Both check the server's certificate and name. `timeout` is in
    seconds, for each step. A `sender` that is none raises `ValueError`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        username: str | None,
        password: str | None,
        *,
        use_tls: bool,
        use_ssl: bool,
        sender: str,
        timeout: float,
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.use_tls = use_tls
        self.use_ssl = use_ssl
        self.sender = checked_sender(sender)
        self.timeout = timeout

    def send(self, message: Message) -> None:
        """Returns once the server has taken the mail over.

        A permanent refusal of the recipient or the content raises `MailRefused`. Everything
        else raises `MailUnavailable`: what is wrong with the connection, the login or the sender
        is no fault of this mail, which goes out once that is put right.
        """
        mail = build(message, self.sender)
        failure: MailRefused | MailUnavailable
        try:
            server = self._connected()
        except (smtplib.SMTPException, OSError) as error:
            failure = self._unreachable(error)
        else:
            try:
                server.send_message(mail)
                return
            except (smtplib.SMTPException, OSError) as error:
                failure = _classified(error)
            finally:
                _part(server)
        # Out here the server's own words, with the address in them, are not chained to it.
        raise failure

    def check(self) -> None:
        """Connects, secures the connection and logs in, as for a mail; then parts."""
        try:
            server = self._connected()
        except (smtplib.SMTPException, OSError) as error:
            failure = self._unreachable(error)
        else:
            try:
                return server.ehlo_or_helo_if_needed()
            except (smtplib.SMTPException, OSError) as error:
                failure = self._unreachable(error)
            finally:
                _part(server)
        raise failure

    def _unreachable(self, error: Exception) -> MailUnavailable:
        return MailUnavailable(
            f"no connection to the mail server {self.host}:{self.port} ({_reason(error)}):"
            " check the mail settings"
        )

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        server: smtplib.SMTP
        if self.use_ssl:
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        try:
            if self.use_tls and not self.use_ssl:
                server.starttls(context=context)
            if self.username:
                server.login(self.username, self.password or "")
        except BaseException:
            server.close()
            raise
        return server


def _part(server: smtplib.SMTP) -> None:
    # A server that hangs up instead of saying goodbye has the mail all the same.
    with suppress(smtplib.SMTPException, OSError):
        server.quit()
    server.close()


def _classified(error: Exception) -> MailRefused | MailUnavailable:
    code = _answer(error)[0]
    permanent = 500 <= code < 600
    if isinstance(error, smtplib.SMTPSenderRefused):
        permanent = code == _TOO_BIG
    if permanent:
        return MailRefused(f"the mail server refused the message for good ({_reason(error)})")
    return MailUnavailable(f"the mail server did not take the message ({_reason(error)})")


def _reason(error: Exception) -> str:
    code, text = _answer(error)
    if not code:
        return type(error).__name__
    enhanced = _ENHANCED_CODE.match(text)
    return f"{code} {enhanced.group().decode()}" if enhanced else str(code)


def _answer(error: Exception) -> tuple[int, bytes]:
    """The server's code and text, or 0 and nothing where it did not answer."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return error.smtp_code, text if isinstance(text, bytes) else text.encode()
    return 0, b""


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def checked_sender(sender: str) -> str:
    """The sender as it is, if it is an address or 'Name <address>'; `ValueError` if not."""
    _sender_address(sender)
    return sender


def _sender_address(sender: str) -> Address:
    match = _SENDER.fullmatch(_one_line(sender))
    name, text = match.group("name", "address") if match else ("", sender.strip())
    address = _parsed(text)
    if address is None:
        raise ValueError(
            f"the sender {sender!r} is no address: write 'Name <name@example.org>' in the mail"
            " settings"
        )
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return Address(display_name=name, addr_spec=address.addr_spec)


def _address(text: str, whose: str) -> Address:
    address = _parsed(text)
    if address is None:
        raise MailRefused(f"the {whose} has no address that mail can be sent to")
    return address


def ascii_domain(domain: str) -> str:
    """The domain as the net knows it (IDNA 2008, UTS 46); `ValueError` where that has none.

    Python's own codec follows the older rules, by which straße.de is another domain.
    """
    return idna.encode(domain, uts46=True).decode()


def _parsed(text: str) -> Address | None:
    """The bare address, its domain in the ASCII form that every mail server takes (RFC 3490)."""
    local, _, domain = text.rpartition("@")
    if not local or not domain:
        return None
    try:
        spec = f"{local}@{ascii_domain(domain)}"
        address = Address(addr_spec=spec)
    except (ValueError, IndexError, MessageError):
        return None
    # The parser drops comments and blanks; an address with such in it is none.
    return address if address.addr_spec == spec else None
