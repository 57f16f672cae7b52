"""From a URL to a client, over TLS too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from state.backends.redis.connect import connect
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl, StateError, StoreMisconfigured
from state.model import ReplicaId
from state.runtime.clock import SystemClock
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer, free_port


def open_store(url: str) -> RedisStore:
    return RedisStore(connect(url, slot=0), pool="p", clock=SystemClock(), url=url)


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "rediss+cluster"])
@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b"])
def test_password_that_is_not_encoded_is_named_but_not_shown(scheme: str, password: str) -> None:
    """It would be read as a part of something else."""
    with pytest.raises(InvalidStateUrl, match="percent-encode") as caught:
        connect(f"{scheme}://user:{password}@host:1/mm", slot=0)
    assert password not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "rediss+cluster"])
def test_encoded_login_is_decoded(scheme: str) -> None:
    """Any character is possible."""
    path = "/mm" if "sentinel" in scheme else ""
    client = connect(f"{scheme}://m%40e:s%2F%3Aecret@host:1{path}", slot=0)
    kwargs = client.connection_pool.connection_kwargs
    assert ("m@e", "s/:ecret") == (kwargs["username"], kwargs["password"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority that the server trusts."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls_port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start a server that wants certificates of its clients."""
    certificate, key = authority.issue("server")
    port = free_port()
    options = {
        "--tls-port": str(port),
        "--tls-cert-file": str(certificate),
        "--tls-key-file": str(key),
        "--tls-ca-cert-file": str(authority.certificate),
        "--tls-auth-clients": "yes",
    }
    arguments = [part for option in options.items() for part in option]
    server = RedisServer(tmp_path_factory.mktemp("tls"), *arguments)
    try:
        server.start()
        yield port
    finally:
        server.kill()


def tls_url(port: int, *, ca: Path, pair: tuple[Path, Path] | None) -> str:
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={ca}"
    return url if pair is None else f"{url}&ssl_certfile={pair[0]}&ssl_keyfile={pair[1]}"


@pytest.mark.integration
async def test_mutual_tls_serves(authority: Authority, tls_port: int) -> None:
    """For calls and for events."""
    url = tls_url(tls_port, ca=authority.certificate, pair=authority.issue("client"))
    store = open_store(url)
    await store.check()
    async with store.events() as events:
        await store.leave(await store.join(ReplicaId("a")))
        assert "a" == await anext(events)
    await store.close()


@pytest.mark.integration
async def test_wrong_authority_is_named(
    authority: Authority, tls_port: int, tmp_path: Path
) -> None:
    """Verification is never skipped."""
    stranger = Authority(tmp_path)
    store = open_store(tls_url(tls_port, ca=stranger.certificate, pair=authority.issue("client")))
    with pytest.raises(StoreMisconfigured, match="ssl_ca_certs"):
        await store.check()
    await store.close()


@pytest.mark.integration
@pytest.mark.parametrize("known", [True, False])
async def test_wrong_client_certificate_is_named(
    authority: Authority, tls_port: int, tmp_path: Path, *, known: bool
) -> None:
    """None at all, or one that the server does not trust; it may cut us off before it says so."""
    pair = None if known else Authority(tmp_path).issue("client")
    store = open_store(tls_url(tls_port, ca=authority.certificate, pair=pair))
    with pytest.raises(StateError, match=r"client certificate|ssl_certfile"):
        await store.check()
    await store.close()


@pytest.mark.integration
async def test_missing_files_are_named(tls_port: int) -> None:
    """The paths are in the URL."""
    store = open_store(tls_url(tls_port, ca=Path("/no/such/ca.crt"), pair=None))
    with pytest.raises(StoreMisconfigured, match="paths of the certificate files"):
        await store.check()
    await store.close()


@pytest.mark.integration
async def test_tls_port_behind_a_plain_url_is_named(tls_port: int) -> None:
    """The other way round a server just waits for the rest of a command."""
    store = open_store(f"redis://127.0.0.1:{tls_port}")
    with pytest.raises(StateError, match=r"does not speak Redis|want TLS"):
        await store.check()
    await store.close()
