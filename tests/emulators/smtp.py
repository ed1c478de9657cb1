"""A mail server that keeps what it is given, with STARTTLS and a password where a test wants them."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.policy
import ipaddress
import ssl
import threading
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .base import Recorder, parser, serve


def make_certificate(folder: Path, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> tuple[Path, Path]:
    """Writes a self-signed certificate for one day and its key; returns both paths.

    A client that is told to trust the certificate trusts the server under any of `names`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(item) for item in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "smtp.pem", folder / "smtp.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class _Server(SMTP):
    """Asks for name and password in the words of the common mail servers; Alertmanager knows only these."""

    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"


# ruff: noqa: ARG002, N802 - aiosmtpd fixes the names and the arguments of its hooks.
class SmtpSink(Recorder):
    """Takes mail; with `user` only from those who log in, with `certificate` it offers STARTTLS."""

    def __init__(
        self,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        log: Path | None = None,
        user: str = "",
        password: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """`listen` and `log` as in the other sinks; `certificate` is the paths of certificate and key."""
        super().__init__(log)
        self._user, self._password = user, password
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
        self._listen = listen
        self._options: dict[str, Any] = {
            "auth_require_tls": context is not None,
            "tls_context": context,
            "require_starttls": context is not None,
        }
        if user:
            self._options["authenticator"] = self._authenticate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        if self._server is None:
            raise RuntimeError("the sink is not running")
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        known = isinstance(data, LoginPassword) and data == LoginPassword(self._user.encode(), self._password.encode())
        if not known:
            self.keep(False, "535 5.7.8 Authentication credentials invalid", mechanism=mechanism)
        return AuthResult(success=known, handled=False)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Asks for the log-in where one is needed."""
        if self._user and not session.authenticated:
            self.keep(False, "530 5.7.0 Authentication required", sender=address)
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keeps the mail with its header fields and its bodies by content type."""
        message = BytesParser(policy=email.policy.default).parsebytes(envelope.original_content or b"")
        self.keep(
            True,
            "250 OK",
            sender=envelope.mail_from,
            recipients=list(envelope.rcpt_tos),
            tls=session.ssl is not None,
            authenticated=bool(session.authenticated),
            headers={name: str(value) for name, value in message.items()},
            subject=str(message["Subject"]),
            bodies=_bodies(message),
        )
        return "250 OK"

    def __enter__(self) -> Self:
        self._thread.start()
        starting = self._loop.create_server(
            lambda: _Server(self, hostname="sink", loop=self._loop, **self._options), *self._listen
        )
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        # Connections that a client left open.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _bodies(message: Any) -> dict[str, str]:
    parts = [part for part in message.walk() if isinstance(part, EmailMessage) and not part.is_multipart()]
    return {part.get_content_type(): str(part.get_content()).replace("\r\n", "\n") for part in parts}


def main() -> None:
    """Runs the sink from the command line."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--user", default="", help="name to log in with; empty means nobody needs to")
    arguments.add_argument("--password-file", type=Path, help="file with the password")
    arguments.add_argument("--certificate", type=Path, metavar="DIR", help="offer STARTTLS with DIR/smtp.pem")
    arguments.add_argument("--name", action="append", help="a name of this server in the certificate")
    options = arguments.parse_args()
    password = options.password_file.read_text().strip() if options.password_file else ""
    certificate = None
    if options.certificate:
        certificate = make_certificate(options.certificate, tuple(options.name or ("localhost", "127.0.0.1")))
    serve(SmtpSink(options.listen, options.log, options.user, password, certificate))


if __name__ == "__main__":
    main()
