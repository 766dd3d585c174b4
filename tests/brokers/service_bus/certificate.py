"""A certificate for loopback, since the SDK asks the management API over HTTPS and checks it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service-bus-broker")])


class Certificate:
    """A new key, and the certificate that it signs for itself.

    - `authority`: the file that a client has to trust, as `REQUESTS_CA_BUNDLE` names it.
    - `context`: what the broker serves with.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "certificate.pem"
        key, key_file = ec.generate_private_key(ec.SECP256R1()), folder / "key.pem"
        key_file.write_bytes(_private(key))
        self.authority.write_bytes(_signed(key).public_bytes(serialization.Encoding.PEM))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.authority, key_file)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now, public = datetime.now(UTC), key.public_key()
    builder = (
        x509.CertificateBuilder(_NAME, _NAME, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )
    # What OpenSSL asks for where it is strict, which Python is since 3.13.
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
        (_names(), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names() -> x509.SubjectAlternativeName:
    loopback = x509.IPAddress(ip_address("127.0.0.1"))
    return x509.SubjectAlternativeName([loopback, x509.DNSName("localhost")])
