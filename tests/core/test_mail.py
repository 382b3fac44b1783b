"""Mail: the MIME form of a message, and its delivery to a real server or to the folder."""

from __future__ import annotations

import email
import socket
import threading
from asyncio import AbstractServer
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tmt.core.mail_transport import (
    Attachment,
    FolderTransport,
    MailDeferred,
    MailRefused,
    MailUnavailable,
    Message,
    SmtpTransport,
    build,
)

SENDER = "Sala Mirador, Łódź <tickets@shop.example>"
MESSAGE = Message(
    to="buyer@mail.example",
    subject="Tus entradas para «Ñandú»",
    text="Hola, Łukasz.\n",
    html="<p>Hola, Łukasz.</p>",
    message_id="<order-7.confirmation@shop.example>",
    locale="es",
    attachments=(
        Attachment("entradas ñ.pdf", b"%PDF-1.7 \x00\xff", "application/pdf"),
        Attachment("evento.ics", "SUMMARY:Ñandú\r\n".encode(), "text/calendar"),
    ),
)


def parse(content: bytes) -> EmailMessage:
    mail = email.message_from_bytes(content, policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def build_and_parse(message: Message = MESSAGE, sender: str = SENDER) -> EmailMessage:
    return parse(build(message, sender).as_bytes())


class TestBuild:
    def test_the_headers(self) -> None:
        mail = build_and_parse()
        (sender,) = mail["From"].addresses
        assert (sender.display_name, sender.addr_spec) == (
            "Sala Mirador, Łódź",
            "tickets@shop.example",
        )
        assert mail["To"] == "buyer@mail.example"
        assert mail["Subject"] == MESSAGE.subject
        assert mail["Message-ID"] == MESSAGE.message_id
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Content-Language"] == "es"
        assert mail["Date"].datetime.tzinfo is not None

    def test_text_and_html_are_alternatives_beside_the_attachments(self) -> None:
        mail = build_and_parse()
        assert mail.get_content_type() == "multipart/mixed"
        alternatives, pdf, ics = mail.iter_parts()
        assert alternatives.get_content_type() == "multipart/alternative"
        plain, html = alternatives.iter_parts()
        assert plain.get_content_type() == "text/plain"
        assert plain.get_content().splitlines() == MESSAGE.text.splitlines()
        assert html.get_content_type() == "text/html"
        assert html.get_content().strip() == MESSAGE.html
        assert pdf.get_filename() == "entradas ñ.pdf"
        assert pdf.get_content() == MESSAGE.attachments[0].content
        assert ics.get_content_type() == "text/calendar"
        assert "SUMMARY:Ñandú" in ics.get_content()

    def test_the_wire_form_is_ascii_in_short_lines(self) -> None:
        content = build(
            replace(MESSAGE, subject="Ñandú " * 60, html="<p>" + "ñ" * 5000), SENDER
        ).as_bytes()
        assert content.isascii()
        assert max(map(len, content.split(b"\r\n"))) <= 998

    def test_a_long_message_id_stays_whole(self) -> None:
        long = f"<{'a' * 90}@shop.example>"
        assert (
            f"Message-ID: {long}".encode()
            in build(replace(MESSAGE, message_id=long), SENDER).as_bytes()
        )

    @pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\u2028", "\x0b", "\x85"])
    def test_headers_cannot_be_injected_by_line_breaks(self, line_break: str) -> None:
        injection = f"Rock{line_break}Bcc: spy@evil.example"
        mail = build_and_parse(
            replace(MESSAGE, subject=injection, attachments=(Attachment(injection, b"", "a/b"),)),
            f"{injection} <tickets@shop.example>",
        )
        assert mail["Bcc"] is None
        assert mail["Subject"] == "Rock Bcc: spy@evil.example"
        assert [attachment.get_filename() for attachment in mail.iter_attachments()] == [
            "Rock Bcc: spy@evil.example"
        ]
        assert [address.addr_spec for address in mail["From"].addresses] == ["tickets@shop.example"]

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "nobody",
            "@mail.example",
            "a@",
            "a b@mail.example",
            "a@b@mail.example",
            "a@mail.example, b@mail.example",
            "A <a@mail.example>",
            "a@mail.example (c)",
            "a@mail..example",
            "a@mail.example\r\nBcc: spy@evil.example",
            "\ud800@mail.example",
            "a\x00b@mail.example",
            "a\x7fb@mail.example",
        ],
    )
    def test_an_invalid_recipient_is_refused_without_repeating_it(self, address: str) -> None:
        with pytest.raises(MailRefused) as refusal:
            build(replace(MESSAGE, to=address), SENDER)
        assert "mail.example" not in str(refusal.value)
        assert refusal.value.__context__ is None

    @pytest.mark.parametrize("message_id", ["", "a@b", "<a>", "<a@b>\r\nBcc: spy@evil.example"])
    def test_a_malformed_message_id_is_refused(self, message_id: str) -> None:
        with pytest.raises(MailRefused):
            build(replace(MESSAGE, message_id=message_id), SENDER)

    def test_an_international_domain_is_sent_in_ascii(self) -> None:
        mail = build_and_parse(replace(MESSAGE, to="a@bücher.example"))
        assert mail["To"] == "a@xn--bcher-kva.example"

    @pytest.mark.parametrize("sender", ["", "Sala Mirador", "Sala <>", "a@b <c@d> <e@f>"])
    def test_an_invalid_sender_is_an_error_at_start(self, sender: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="mail settings"):
            FolderTransport(tmp_path, sender)

    def test_the_repr_of_a_message_holds_no_personal_data(self) -> None:
        text = repr(MESSAGE)
        assert "buyer" not in text
        assert "Łukasz" not in text
        assert "%PDF" not in text


class TestFolder:
    def test_the_mail_is_a_file_of_its_own(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "folder"
        name = FolderTransport(folder, SENDER).send(MESSAGE)
        assert [file.name for file in folder.iterdir()] == [name]
        assert name.endswith(".eml")
        assert parse((folder / name).read_bytes())["Subject"] == MESSAGE.subject
        assert (folder / name).stat().st_mode & 0o077 == 0

    def test_a_repetition_replaces_the_file(self, tmp_path: Path) -> None:
        transport = FolderTransport(tmp_path, SENDER)
        assert transport.send(MESSAGE) == transport.send(MESSAGE)
        transport.send(replace(MESSAGE, message_id="<order-8.confirmation@shop.example>"))
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_message_id_cannot_leave_the_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "mails"
        message = replace(MESSAGE, message_id="<../../escape@shop.example>")
        name = FolderTransport(folder, SENDER).send(message)
        assert (folder / name).is_file()
        assert list(tmp_path.iterdir()) == [folder]

    def test_a_folder_that_cannot_be_created_is_a_temporary_failure(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(MailUnavailable, match="cannot be written"):
            FolderTransport(tmp_path / "file" / "mails", SENDER).send(MESSAGE)


class Postbox:
    """A mail server's handler: stores mail, or gives the responses in `answers`."""

    def __init__(self) -> None:
        self.received: list[Envelope] = []
        self.answers: dict[str, str] = {}

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.received.append(envelope)
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self.answers.get("QUIT", "221 Bye")


class LoopbackController(Controller):
    """A mail server on a loopback port of the system's choosing."""

    def __init__(self, postbox: Postbox, **options: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        port = self.socket.getsockname()[1]
        super().__init__(postbox, hostname="127.0.0.1", port=port, **options)

    def _create_server(self) -> Coroutine[Any, Any, AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self.socket)


@contextmanager
def mail_server(postbox: Postbox, **options: Any) -> Iterator[int]:
    controller = LoopbackController(postbox, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def port(postbox: Postbox) -> Iterator[int]:
    with mail_server(postbox) as port:
        yield port


def smtp(port: int, **settings: Any) -> SmtpTransport:
    defaults: dict[str, Any] = {
        "username": None,
        "password": None,
        "use_tls": False,
        "use_ssl": False,
        "sender": SENDER,
        "timeout": 5.0,
    }
    return SmtpTransport("127.0.0.1", port, **(defaults | settings))


class TestSmtp:
    def test_the_mail_arrives(self, postbox: Postbox, port: int) -> None:
        transport = smtp(port)
        transport.send(MESSAGE)
        transport.send(replace(MESSAGE, to="a@bücher.example"))
        first, second = postbox.received
        assert (first.mail_from, first.rcpt_tos) == ("tickets@shop.example", [MESSAGE.to])
        assert isinstance(first.content, bytes)
        assert parse(first.content)["Subject"] == MESSAGE.subject
        assert second.rcpt_tos == ["a@xn--bcher-kva.example"]

    @pytest.mark.parametrize(
        ("command", "answer", "expected"),
        [
            ("RCPT", "550 5.1.1 <buyer@mail.example> unknown", MailRefused),
            ("RCPT", "450 4.2.1 <buyer@mail.example> is busy", MailDeferred),
            ("DATA", "554 5.7.1 buyer@mail.example gets no such thing", MailRefused),
            ("DATA", "451 4.3.0 try later", MailDeferred),
            ("MAIL", "552 5.3.4 too big", MailRefused),
            ("MAIL", "550 5.7.1 we do not know this sender", MailUnavailable),
            ("MAIL", "452 4.3.1 disk full", MailUnavailable),
        ],
    )
    def test_a_response_is_a_permanent_or_a_temporary_failure(
        self, postbox: Postbox, port: int, command: str, answer: str, expected: type[Exception]
    ) -> None:
        postbox.answers[command] = answer
        with pytest.raises((MailRefused, MailUnavailable)) as failure:
            smtp(port).send(MESSAGE)
        assert type(failure.value) is expected
        assert " ".join(answer.split()[:2])[:9] in str(failure.value)
        assert "buyer" not in str(failure.value)
        assert failure.value.__context__ is None
        assert postbox.received == []

    def test_an_error_after_the_mail_was_accepted_is_ignored(
        self, postbox: Postbox, port: int
    ) -> None:
        postbox.answers["QUIT"] = "500 what?"
        smtp(port).send(MESSAGE)
        assert len(postbox.received) == 1

    def test_the_login_is_used(self, postbox: Postbox) -> None:
        logins: list[LoginPassword] = []

        def check(
            server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword
        ) -> AuthResult:
            logins.append(login)
            return AuthResult(success=login.password == b"right", handled=False)

        with mail_server(postbox, authenticator=check, auth_require_tls=False) as port:
            with pytest.raises(MailUnavailable, match="535.*check the mail settings"):
                smtp(port, username="shop", password="wrong").send(MESSAGE)
            assert postbox.received == []
            smtp(port, username="shop", password="right").send(MESSAGE)
            assert logins[-1] == LoginPassword(b"shop", b"right")
            with pytest.raises(MailUnavailable, match="535"):
                smtp(port, username="shop", password="contraseña").check()
        assert logins[-1] == LoginPassword(b"shop", "contraseña".encode())
        assert len(postbox.received) == 1

    @pytest.mark.parametrize("setting", ["use_tls", "use_ssl"])
    def test_without_tls_nothing_is_sent_to_the_server(
        self, postbox: Postbox, port: int, setting: str
    ) -> None:
        with pytest.raises(MailUnavailable, match="check the mail settings"):
            smtp(port, **{setting: True}).send(MESSAGE)
        assert postbox.received == []

    def test_no_server_is_a_temporary_failure(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
        with pytest.raises(MailUnavailable, match=f"127.0.0.1:{port}"):
            smtp(port).send(MESSAGE)

    @pytest.mark.parametrize("greeting", [b"", b"421 4.3.2 closing down\r\n", b"220 hello\r\n"])
    def test_a_server_that_stops_responding_or_hangs_up_is_a_temporary_failure(
        self, greeting: bytes
    ) -> None:
        def answer(connection: socket.socket) -> None:
            connection.sendall(greeting)

        with unresponsive_server(answer) as port, pytest.raises(MailUnavailable):
            smtp(port, timeout=0.2).send(MESSAGE)


@contextmanager
def unresponsive_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that sends one response on one connection, then nothing until the block ends."""
    ended = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection):
                answer(connection)
                ended.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()
