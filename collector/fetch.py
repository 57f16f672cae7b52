"""Gets one endpoint's page over HTTP, within bounds of time and size."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from collector.errors import FailureReason, ScrapeFailed
from collector.exposition import check_page
from collector.settings import ScrapeSettings

HEADERS = {
    # Anything else makes some client libraries rewrite the names of the series.
    "Accept": "text/plain;version=0.0.4",
    # Compressing costs the server more than the wire is worth.
    "Accept-Encoding": "identity",
    "User-Agent": "murmuration-collector",
}

REDIRECTS = frozenset({301, 302, 303, 307, 308})

GZIP_WINDOW = 16 + zlib.MAX_WBITS


@asynccontextmanager
async def open_session(settings: ScrapeSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that keeps one connection per endpoint open between scrapes."""
    connector = aiohttp.TCPConnector(
        limit=0, limit_per_host=1, keepalive_timeout=2 * settings.longest_pause_seconds
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # Inflating is done here, where it has a bound.
        auto_decompress=False,
        headers=HEADERS,
        read_bufsize=1 << 18,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
    ) as session:
        yield session


class HttpPage:
    """The metrics page of one endpoint. A redirect within its origin is followed and remembered."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, settings: ScrapeSettings) -> None:
        self._session = session
        self._first = url
        self._url = url
        self._settings = settings

    async def fetch(self) -> bytes:
        """Return the page; raises ScrapeFailed with the reason, within the timeout."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._follow()
        except ScrapeFailed:
            self._url = self._first
            raise
        except TimeoutError as error:
            raise ScrapeFailed(
                FailureReason.TIMEOUT, f"no page within {self._settings.timeout_seconds} s"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ScrapeFailed(FailureReason.CONNECT, str(error)) from error
        except aiohttp.ClientError as error:
            raise ScrapeFailed(FailureReason.BROKEN, str(error) or repr(error)) from error

    async def _follow(self) -> bytes:
        answer = await self._get(self._url)
        if isinstance(answer, URL):
            self._url = answer
            answer = await self._get(answer)
        if isinstance(answer, URL):
            raise ScrapeFailed(FailureReason.REDIRECT, f"a second redirect, to {answer}")
        return answer

    async def _get(self, url: URL) -> bytes | URL:
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status in REDIRECTS:
                return _same_origin(url, response.headers.get("Location", ""))
            if response.status != 200:
                raise ScrapeFailed(FailureReason.STATUS, f"{response.status} from {url}")
            page = await _read_body(response, self._settings.most_page_bytes)
            check_page(response.headers.get("Content-Type"), page)
            return page


def _same_origin(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise ScrapeFailed(FailureReason.REDIRECT, f"to {location!r}") from error
    if target.origin() != url.origin() or target == url:
        raise ScrapeFailed(FailureReason.REDIRECT, f"to {target}, not within {url.origin()}")
    return target


async def _read_body(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    if (response.content_length or 0) > most_bytes:
        raise ScrapeFailed(FailureReason.TOO_LARGE, f"more than {most_bytes} bytes announced")
    inflate = _inflater(response.headers.get("Content-Encoding", "identity"))
    parts = []
    room = most_bytes
    async for chunk in response.content.iter_any():
        part = chunk if inflate is None else _inflate(inflate, chunk, room + 1)
        room -= len(part)
        if room < 0:
            raise ScrapeFailed(FailureReason.TOO_LARGE, f"more than {most_bytes} bytes")
        parts.append(part)
    if inflate is not None and not inflate.eof:
        raise ScrapeFailed(FailureReason.ENCODING, "gzip data is cut off")
    return b"".join(parts)


def _inflater(encoding: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "identity" | "":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(GZIP_WINDOW)
    raise ScrapeFailed(FailureReason.ENCODING, f"{encoding!r} was not asked for")


def _inflate(inflate: "zlib._Decompress", chunk: bytes, most_bytes: int) -> bytes:
    try:
        return inflate.decompress(chunk, most_bytes)
    except zlib.error as error:
        raise ScrapeFailed(FailureReason.ENCODING, str(error)) from error
