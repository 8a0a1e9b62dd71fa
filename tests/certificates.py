"""A certificate authority of the tests, and a certificate for this machine's loopback."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Certificates:
    """Files in a directory: `ca` to be trusted, `certificate` and `key` to be served with."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        made = authority.issue_cert("localhost", "127.0.0.1")
        self.ca, self.certificate, self.key = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        with Path(self.certificate).open("wb") as file:
            for blob in made.cert_chain_pems:
                file.write(blob.bytes())
        made.private_key_pem.write_to_path(self.key)

    def serving(self) -> ssl.SSLContext:
        """For a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        spare_threads(context)
        return context

    def trusting(self) -> ssl.SSLContext:
        """For a client."""
        return ssl.create_default_context(cafile=self.ca)

    @property
    def settings(self) -> dict[str, str]:
        """Farthing's settings that make it serve with them."""
        return {"FARTHING_TLS_CERT": self.certificate, "FARTHING_TLS_KEY": self.key}


def spare_threads(context: ssl.SSLContext) -> None:
    """Send no session tickets after the handshake.

    A client that reads in one thread and writes in another, as the websockets library's blocking one does, uses one
    OpenSSL object in both; before Python 3.12.8 and 3.13.1 nothing guards it, and reading the tickets while the request
    is written now and then lost it.
    """
    context.num_tickets = 0
