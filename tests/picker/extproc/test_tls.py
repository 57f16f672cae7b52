"""Certificates and keys that cannot be used are named."""

import datetime as dt
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509

from picker.extproc.tls import InvalidTls, TlsFiles, self_signed, server_context, server_credentials


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a good certificate and key."""
    pair = self_signed()
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    return tmp_path


def files(folder: Path) -> TlsFiles:
    return TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key")


def test_a_good_pair_is_loaded(folder: Path) -> None:
    """Files become a context that offers h2."""
    context = server_context(files(folder))
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert server_credentials(files(folder)) is not None


def test_no_folder_to_write_to_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers may have a file system that is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    assert server_context(TlsFiles()) is not None


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """The sentence says which file."""
    (folder / name).unlink()
    with pytest.raises(InvalidTls, match=rf"cannot read .*{name}: No such file"):
        server_context(files(folder))


@pytest.mark.parametrize(
    ("name", "words"),
    [("tls.crt", "holds no PEM certificate"), ("tls.key", "holds no plain PEM private key")],
)
def test_a_file_with_something_else_is_named(folder: Path, name: str, words: str) -> None:
    """Both servers say the same."""
    (folder / name).write_text("something else")
    for load in (server_context, server_credentials):
        with pytest.raises(InvalidTls, match=rf"{name} {words}"):
            load(files(folder))


def test_a_key_of_another_certificate_is_named(folder: Path) -> None:
    """A half-renewed pair is found at start."""
    (folder / "tls.key").write_bytes(self_signed().key)
    with pytest.raises(InvalidTls, match=r"tls\.key is not the key of .*tls\.crt"):
        server_context(files(folder))


def test_grpcio_cannot_require_tls_1_3() -> None:
    """A minimum that would not be kept is refused."""
    with pytest.raises(InvalidTls, match="use h2"):
        server_credentials(TlsFiles(minimum_version=ssl.TLSVersion.TLSv1_3))


def test_a_self_signed_certificate_lasts_ten_years() -> None:
    """Nobody renews it, so it must outlast the process."""
    certificate = x509.load_pem_x509_certificate(self_signed().certificate)
    assert "O=Inference Ext" == certificate.subject.rfc4514_string()
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert dt.timedelta(days=3650) <= lifetime
