"""Mail: a message, its MIME form (RFC 5322, 2045), and the transports: SMTP and a folder.

Errors carry the mail server's codes, never its text: the text tends to repeat the address, and
an address must not reach a log.
"""

from __future__ import annotations

import hashlib
import os
import re
import smtplib
import socket
import ssl
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from pathlib import Path
from typing import Any, Protocol

from tmt.core.email_address import ascii_email
from tmt.core.errors import PermanentFailure, Unavailable

# RFC 3463: class.subject.detail, at the beginning of a server's response.
_ENHANCED_CODE = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SENDER = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>")
# Seven bits, because a mail server need not take eight (RFC 6152), and smtplib does not ask.
_SEVEN_BIT = SMTP.clone(cte_type="7bit")
_MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>", re.ASCII)
# RFC 5321, 4.2.3: 552 is about the size of this message, also in response to MAIL FROM.
_TOO_BIG = 552
# RFC 5321, 4.2.3: the server is closing the connection; nobody's mail is taken.
_CLOSING = 421
_CONTINUE = 334
_LOGGED_IN = (235, 503)
# A mail may take so many times the timeout of a single step.
_STEPS_IN_TIME = 6


class MailRefused(PermanentFailure):
    """The message will never be delivered: sending it again cannot help."""


class MailUnavailable(Unavailable):
    """The mail server does not answer, or takes no mail at all now."""


class MailDeferred(MailUnavailable):
    """The server does not take this message now, which says nothing about others."""

    concerns_all = False


class MailUncertain(MailUnavailable):
    """The server has the whole message and did not say what became of it.

    It may be on its way, so it is sent again only when a slow server would long have delivered it.
    """

    retry_after = timedelta(hours=1)


@dataclass(frozen=True)
class Attachment:
    """A file attached to a message; `mime_type` is such as 'application/pdf' or
    'text/calendar; method=PUBLISH'."""

    filename: str
    content: bytes = field(repr=False)
    mime_type: str


@dataclass(frozen=True)
class Message:
    """A mail to one person, as text and as HTML.

    `to` is a bare address; `message_id` ('<left@right>') is the same for every attempt to send
    the same mail; `locale` is the language of its texts. The repr holds no personal data.
    """

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str
    locale: str
    attachments: Sequence[Attachment] = ()


class Transport(Protocol):
    """A way to send mail, safe to use from several threads."""

    def send(self, message: Message) -> str | None:
        """Sends the message; returns its file name where it is written to a file.

        Raises `MailRefused`, `MailDeferred`, `MailUncertain` or `MailUnavailable`.
        """

    def check(self) -> None:
        """Does all that sending does before a message; raises `MailUnavailable`."""


def build(message: Message, sender: str) -> EmailMessage:
    """The MIME form: text and HTML as alternatives, then the attachments.

    Headers cannot be injected: line breaks and other control characters in the subject and in
    file names become blanks; in an address or a Message-ID they raise `MailRefused`, as does
    any other recipient that is no address. A `sender` that is neither an address nor
    'Name <address>' raises `ValueError`. 'Auto-Submitted' (RFC 3834) prevents out-of-office
    replies.
    """
    if not _MESSAGE_ID.fullmatch(message.message_id):
        raise MailRefused("the Message-ID is not of the form <left@right>")
    mail = EmailMessage(policy=_SEVEN_BIT)
    mail["From"] = parse_sender(sender)
    mail["To"] = _parse_recipient(message.to)
    mail["Subject"] = _one_line(message.subject)
    mail["Date"] = localtime()
    mail["Message-ID"] = message.message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for attachment in message.attachments:
        mime_type, *parameters = attachment.mime_type.split("; ")
        maintype, _, subtype = mime_type.partition("/")
        params = dict(parameter.split("=", 1) for parameter in parameters)
        if maintype == "text":
            # Text without a charset would be read as ASCII.
            params["charset"] = "utf-8"
        mail.add_attachment(
            attachment.content,
            maintype=maintype,
            subtype=subtype,
            filename=_one_line(attachment.filename),
            params=params,
        )
    # Last, because setting the content removes the content headers.
    mail["Content-Language"] = message.locale
    return mail


class FolderTransport:
    """Writes each mail into a folder, as an .eml file that any mail program opens.

    The file is named after the Message-ID, so that a mail that is sent again replaces itself, and
    only this user can read it. An invalid `sender` raises `ValueError`.
    """

    def __init__(self, folder: Path, sender: str) -> None:
        parse_sender(sender)
        self.folder = folder
        self.sender = sender

    def send(self, message: Message) -> str:
        """Writes the file, whole or not at all; its name."""
        content = build(message, self.sender).as_bytes()
        name = file_name(message.message_id)
        with self._writable_folder():
            self._write(content, self.folder / name)
        return name

    def check(self) -> None:
        """Raises `MailUnavailable` unless the folder can be written to."""
        with (
            self._writable_folder(),
            tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part"),
        ):
            pass

    @contextmanager
    def _writable_folder(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise MailUnavailable(
                f"the mail folder {self.folder} cannot be written: {error.strerror}"
            ) from error

    def _write(self, content: bytes, target: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                _replace(Path(file.name), target)
            except BaseException:
                Path(file.name).unlink()
                raise


def _replace(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except IsADirectoryError:
        raise MailDeferred(f"{target} is a folder: remove it") from None


def file_name(message_id: str) -> str:
    """The name of the mail's file in the mail folder."""
    return hashlib.sha256(message_id.encode()).hexdigest()[:32] + ".eml"


class SmtpTransport:
    """Sends each mail through a mail server, over a connection of its own.

    `use_tls` upgrades the connection with STARTTLS and refuses to go on without it; `use_ssl`
    uses TLS from the first byte. Both check the server's certificate and name. `timeout` is in
    seconds, for each step, and six times as long for a whole mail. An invalid `sender` raises
    `ValueError`.
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
        parse_sender(sender)
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.use_tls = use_tls
        self.use_ssl = use_ssl
        self.sender = sender
        self.timeout = timeout

    def send(self, message: Message) -> None:
        """Returns once the server has accepted the mail.

        A permanent rejection of the recipient or the content raises `MailRefused`, a temporary one
        `MailDeferred`. `MailUncertain`: the server has the whole mail and did not say whether it
        takes it. Everything else raises `MailUnavailable`: a problem with the connection, the login
        or the sender is not this mail's, which can be sent once that is repaired.
        """
        mail = build(message, self.sender)
        failure: MailRefused | MailUnavailable
        try:
            server = self._connect()
        except (smtplib.SMTPException, OSError) as error:
            failure = self._no_connection(error)
        else:
            try:
                server.send_message(mail)
                return
            except (smtplib.SMTPException, OSError) as error:
                failure = _send_failure(error, server.has_sent_content)
            finally:
                _quit(server)
        # Raised out here, so that the server's text, with the address in it, is not chained to it.
        raise failure

    def check(self) -> None:
        """Connects, secures the connection and logs in, as for a mail."""
        try:
            server = self._connect()
        except (smtplib.SMTPException, OSError) as error:
            failure = self._no_connection(error)
        else:
            try:
                return server.ehlo_or_helo_if_needed()
            except (smtplib.SMTPException, OSError) as error:
                failure = self._no_connection(error)
            finally:
                _quit(server)
        raise failure

    def _no_connection(self, error: Exception) -> MailUnavailable:
        return MailUnavailable(
            f"no connection to the mail server {self.host}:{self.port} ({_reason(error)}):"
            " check the mail settings"
        )

    def _connect(self) -> _Server:
        context = ssl.create_default_context()
        server: _Server
        if self.use_ssl:
            server = _TlsServer(self.host, self.port, timeout=self.timeout, context=context)
        else:
            server = _Server(self.host, self.port, timeout=self.timeout)
        try:
            if self.use_tls and not self.use_ssl:
                server.starttls(context=context)
            if self.username:
                _login(server, self.username, self.password or "")
        except BaseException:
            server.close()
            raise
        return server


class _Server(smtplib.SMTP):
    """A connection that knows whether the server has the whole mail, and that ends in time.

    The timeout is for each piece that is read; a server that sends a byte now and then could
    otherwise go on for ever.
    """

    has_sent_content = False
    _watchdog: threading.Timer | None = None

    def connect(self, *args: Any, **more: Any) -> tuple[int, bytes]:
        seconds = _STEPS_IN_TIME * float(self.timeout or 0)
        self._watchdog = threading.Timer(seconds, self._hang_up)
        self._watchdog.daemon = True
        self._watchdog.start()
        return super().connect(*args, **more)

    def send(self, s: Any) -> None:
        super().send(s)
        # Nothing but the end of a mail's content ends like this, and it is sent as bytes.
        self.has_sent_content = self.has_sent_content or s[-5:] == b"\r\n.\r\n"

    def close(self) -> None:
        if self._watchdog:
            self._watchdog.cancel()
        super().close()

    def _hang_up(self) -> None:
        with suppress(OSError):
            if self.sock:
                # Not that of TLS, which would say goodbye to the server and wait for its answer.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _TlsServer(_Server, smtplib.SMTP_SSL):
    pass


def _login(server: smtplib.SMTP, username: str, password: str) -> None:
    """Logs in; beyond ASCII in UTF-8 (RFC 4616), which smtplib does not do."""
    if f"{username}{password}".isascii():
        server.login(username, password)
        return
    server.ehlo_or_helo_if_needed()
    name, secret = username.encode(), password.encode()
    methods = server.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in methods:
        # Without an identity of its own before the first NUL.
        login = _base64(b"\0" + name + b"\0" + secret)
        code, text = server.docmd("AUTH", f"PLAIN {login}")
    elif "LOGIN" in methods:
        code, text = server.docmd("AUTH", f"LOGIN {_base64(name)}")
        if code == _CONTINUE:
            code, text = server.docmd(_base64(secret))
    else:
        raise smtplib.SMTPNotSupportedError("the server offers neither AUTH PLAIN nor LOGIN")
    if code not in _LOGGED_IN:
        raise smtplib.SMTPAuthenticationError(code, text)


def _base64(text: bytes) -> str:
    return b64encode(text).decode()


def _quit(server: smtplib.SMTP) -> None:
    # A server that hangs up instead of answering QUIT has accepted the mail all the same.
    with suppress(smtplib.SMTPException, OSError):
        server.quit()
    server.close()


def _send_failure(error: Exception, has_sent_content: bool) -> MailRefused | MailUnavailable:
    code, _text = _response(error)
    reason = f"({_reason(error)})"
    if not code:
        if has_sent_content:
            return MailUncertain(f"the mail server has the message and did not confirm it {reason}")
        return MailUnavailable(f"the mail server did not take the message {reason}")
    if isinstance(error, smtplib.SMTPSenderRefused):
        is_own, is_permanent = code == _TOO_BIG, code == _TOO_BIG
    else:
        is_own, is_permanent = code != _CLOSING, 500 <= code < 600
    if is_permanent:
        return MailRefused(f"the mail server refused the message for good {reason}")
    kind = MailDeferred if is_own else MailUnavailable
    return kind(f"the mail server did not take the message {reason}")


def _reason(error: Exception) -> str:
    """The server's codes, or the error's type where the server did not respond."""
    code, text = _response(error)
    if not code:
        return type(error).__name__
    enhanced = _ENHANCED_CODE.match(text)
    return f"{code} {enhanced.group().decode()}" if enhanced else str(code)


def _response(error: Exception) -> tuple[int, bytes]:
    """The server's code and text; 0 and nothing where it did not respond."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return error.smtp_code, text if isinstance(text, bytes) else text.encode()
    return 0, b""


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def parse_sender(sender: str) -> Address:
    """The sender of a setting; raises `ValueError` for what is no address."""
    match = _SENDER.fullmatch(_one_line(sender))
    name, address = match.group("name", "address") if match else ("", sender.strip())
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    with suppress(ValueError):
        return Address(display_name=name, addr_spec=ascii_email(address))
    raise ValueError(
        f"the sender {sender!r} is no address: write 'Name <name@example.org>' in the mail settings"
    )


def _parse_recipient(address: str) -> Address:
    with suppress(ValueError):
        return Address(addr_spec=ascii_email(address))
    # Not chained to the validator's error, which repeats the address.
    raise MailRefused("the recipient has no address that mail can be sent to")
