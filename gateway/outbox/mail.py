"""Messages by e-mail: one address, plain text, by the operator's own SMTP server.

SMTP knows no second delivery of the same: a message whose acceptance we did not live to write down comes twice, under
the same `Message-ID`.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
import msgspec

from gateway.outbox.outcome import Outcome

TIMEOUT_S = 30.0
SUBJECT_MAX = 200
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_PORTS = {"smtp": 25, "smtps": 465}
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail is handed in, and whom it comes from.

    `tls` from the first byte (`smtps://`); otherwise by STARTTLS.
    """

    host: str
    port: int
    sender: str
    user: str | None = None
    password: str | None = None
    tls: bool = False

    @property
    def start_tls(self) -> bool | None:
        """Whether to insist on TLS; None where it is used if it is there: a password goes over nothing else."""
        if self.tls:
            return False
        return None if self.user is None or self.host in _THIS_MACHINE else True

    def __repr__(self) -> str:
        return f"Server({self.host!r}, {self.port})"


def server(url: str, sender: str) -> Server:
    """The server of `FARTHING_SMTP_URL`: `smtp://[user:password@]host[:port]` or `smtps://…`.

    Raises:
        ValueError: The URL or the sender is none; the message shows no secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("FARTHING_SMTP_URL must be such as smtp://user:password@mail.example.com:587 or smtps://…")
    if not is_address(parseaddr(sender)[1]):
        raise ValueError("FARTHING_MAIL_FROM must be an address such as Farthing <billing@example.com>")
    return Server(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        sender=sender,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "smtps",
    )


def is_address(text: str) -> bool:
    """Whether it is one plain e-mail address."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None and ".." not in text


def composed(
    mail_server: Server, to: str, message_id: str, sentence: str, body: bytes, created_ms: int
) -> EmailMessage:
    """The message. Its subject is the sentence; below it stands what a program would have got."""
    message = EmailMessage()
    message["From"] = mail_server.sender
    message["To"] = to
    subject = "".join(each if each.isprintable() else " " for each in sentence)
    message["Subject"] = subject if len(subject) <= SUBJECT_MAX else subject[: SUBJECT_MAX - 1] + "…"
    message["Message-ID"] = f"<{message_id}@{parseaddr(mail_server.sender)[1].rpartition('@')[2]}>"
    message["Date"] = format_datetime(datetime.fromtimestamp(created_ms / 1000, UTC))
    message["Auto-Submitted"] = "auto-generated"
    shown = msgspec.json.format(body, indent=2).decode()
    message.set_content(f"{sentence}\n\n{shown}\n")
    return message


async def hand_in(mail_server: Server, message: EmailMessage) -> Outcome:
    """Send it, once."""
    try:
        await aiosmtplib.send(
            message,
            hostname=mail_server.host,
            port=mail_server.port,
            username=mail_server.user,
            password=mail_server.password,
            use_tls=mail_server.tls,
            start_tls=mail_server.start_tls,
            tls_context=ssl.create_default_context(),
            timeout=TIMEOUT_S,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        return _refused(max(each.code for each in error.recipients))
    except aiosmtplib.SMTPAuthenticationError as error:
        return Outcome(status=error.code, error="credentials")  # the operator can mend it meanwhile
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error.code)
    except TimeoutError:
        return Outcome(error="timeout")
    except aiosmtplib.SMTPTimeoutError:
        return Outcome(error="timeout")
    except (aiosmtplib.SMTPException, OSError) as error:
        return Outcome(error="tls" if isinstance(error.__cause__, ssl.SSLError) else "unreachable")
    return Outcome(delivered=True, status=250)


def _refused(code: int) -> Outcome:
    """4xx may be taken another time, 5xx never."""
    return Outcome(status=code, error="status", final=code >= 500)
