"""Real TLS handshakes with both ext_proc servers."""

import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from picker.extproc.ports import StreamEnd
from picker.extproc.tls import TlsFiles, self_signed
from tests.support.grpc_client import trusting
from tests.support.transports import KINDS, Served, exchange, served


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    """Write a certificate and its key."""
    pair = self_signed()
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    return TlsFiles(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest, files: TlsFiles) -> AsyncIterator[Served]:
    async with served(request.param, tls=files) as transport:
        yield transport


async def test_a_client_that_knows_the_certificate_is_served(
    transport: Served, files: TlsFiles
) -> None:
    """The certificate names the loopback addresses, so that it can be verified there."""
    assert files.certificate is not None
    credentials = grpc.ssl_channel_credentials(files.certificate.read_bytes())
    async with grpc.aio.secure_channel(str(transport.server.address), credentials) as channel:
        assert [b"a" * 100_000] == await exchange(channel, b"a" * 100_000)
    assert [StreamEnd.COMPLETED] == await transport.scripts.closed()


@pytest.mark.parametrize("kind", KINDS)
async def test_without_files_a_certificate_is_made(kind: str) -> None:
    """Gateways that verify nothing are served with a self-signed certificate."""
    async with (
        served(kind, tls=TlsFiles()) as transport,
        transport.raw(tls=trusting("h2")) as client,
    ):
        stream_id = client.call(b"a", end=True)
        assert [b"a"] == (await client.answer(stream_id)).messages


async def test_h2_must_be_negotiated() -> None:
    """A TLS peer without ALPN, or with another protocol, is not served."""
    async with served("h2", tls=TlsFiles()) as transport:
        async with transport.raw(tls=trusting()) as client:
            client.call(b"a")
            await client.flush()
            await client.closed_by_server()
        with suppress(ssl.SSLError, ConnectionError):  # OpenSSL may refuse it in the handshake
            async with transport.raw(tls=trusting("http/1.1")) as client:
                await client.closed_by_server()
        assert 0 == transport.server.streams
        assert [] == transport.scripts.made


async def test_plain_text_to_a_tls_port_is_hung_up_on(transport: Served) -> None:
    """A gateway that forgot TLS is disconnected; the next one is served."""
    async with transport.raw() as client:
        client.call(b"a")
        await client.flush()
        await client.closed_by_server()
    async with transport.raw(tls=trusting("h2")) as client:
        stream_id = client.call(b"a", end=True)
        assert [b"a"] == (await client.answer(stream_id)).messages


async def test_tls_versions_below_the_minimum_are_refused() -> None:
    """The minimum is the server's to say."""
    old = trusting("h2")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    files = TlsFiles(minimum_version=ssl.TLSVersion.TLSv1_3)
    async with served("h2", tls=files) as transport:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with transport.raw(tls=old):
                pass
        async with transport.raw(tls=trusting("h2")) as client:
            stream_id = client.call(b"a", end=True)
            assert [b"a"] == (await client.answer(stream_id)).messages


async def test_a_peer_that_vanishes_within_tls_closes_its_exchange(transport: Served) -> None:
    """No close_notify, no FIN: the exchange is closed all the same."""
    async with transport.raw(tls=trusting("h2")) as client:
        client.call(b"a")
        await client.flush()
        await transport.scripts.opened()
        client.vanish()
        assert 1 == len(await transport.scripts.closed())
    assert 0 == transport.server.streams
