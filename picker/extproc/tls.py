"""TLS for the ext_proc port: from files, or self-signed."""

import datetime as dt
import ipaddress
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from picker.errors import PickerError

ORGANISATION = "Inference Ext"
SELF_SIGNED_DAYS = 3650


class InvalidTls(PickerError):  # noqa: N818  reads as what the files are
    """A certificate or key cannot be used."""


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where certificate and key are; both None: make a self-signed pair."""

    certificate: Path | None = None
    key: Path | None = None
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


class KeyPair(NamedTuple):
    """A certificate chain and its private key, in PEM."""

    certificate: bytes
    key: bytes


def read_pair(files: TlsFiles) -> KeyPair:
    """Return the pair that the files hold, or a self-signed one; raises InvalidTls."""
    if files.certificate is None or files.key is None:
        return self_signed()
    pair = KeyPair(_read("cert_file", files.certificate), _read("key_file", files.key))
    try:
        certificate = x509.load_pem_x509_certificates(pair.certificate)[0]
    except ValueError as error:
        raise InvalidTls(f"cert_file: {files.certificate} holds no PEM certificate") from error
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidTls(f"key_file: {files.key} holds no plain PEM private key") from error
    if certificate.public_key() != key.public_key():
        raise InvalidTls(f"key_file: {files.key} is not the key of {files.certificate}")
    return pair


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that speaks h2 over TLS; raises InvalidTls."""
    pair = read_pair(files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = files.minimum_version
    context.set_alpn_protocols(["h2"])
    with _as_file(pair.key + b"\n" + pair.certificate) as both:
        try:
            context.load_cert_chain(both)
        except ssl.SSLError as error:  # e.g. a key that OpenSSL finds too short
            reason = error.reason or str(error)
            raise InvalidTls(f"cert_file: cannot use {files.certificate}: {reason}") from error
    return context


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return the same for grpcio; raises InvalidTls."""
    if files.minimum_version > ssl.TLSVersion.TLSv1_2:
        raise InvalidTls("transport: grpcio cannot require TLS 1.3, use h2")
    pair = read_pair(files)
    return grpc.ssl_server_credentials([(pair.key, pair.certificate)])


def self_signed() -> KeyPair:
    """Make a certificate that encrypts but proves nothing: gateways must skip verification."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    x509.IPAddress(ipaddress.ip_address("::1")),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """Return a path for the ssl module, which reads files only."""
    if sys.platform == "linux":  # where containers may have no folder to write to
        with os.fdopen(os.memfd_create("tls"), "wb", buffering=0) as memory:
            memory.write(pem)
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(pem)
            file.flush()
            yield file.name


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidTls(f"{flag}: cannot read {path}: {error.strerror}") from error
