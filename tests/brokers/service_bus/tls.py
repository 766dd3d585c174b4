"""TLS without a socket of its own: a connection learns from the first byte that it needs it."""

from __future__ import annotations

import ssl
from typing import Final

# The first byte of a TLS connection; AMQP begins with the letter A.
HANDSHAKE: Final = b"\x16"
_MOST_BYTES: Final = 65_536


class TlsStream:
    """The server's side; what comes and goes as ciphertext is carried by whoever owns it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self._shaken = False

    def feed(self, ciphertext: bytes) -> bytes:
        """The plaintext that is complete now; ssl.SSLError where the peer gave up."""
        self._arrived.write(ciphertext)
        parts = []
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while part := self._tls.read(_MOST_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)

    def seal(self, plaintext: bytes) -> None:
        """Encrypts what is to be sent."""
        self._tls.write(plaintext)

    def leaving(self) -> bytes:
        """The ciphertext that is to be sent now."""
        return self._leaving.read()
