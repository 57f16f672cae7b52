"""Sends one planned request and tells how it ended."""

import asyncio
import re
from collections.abc import Mapping, Sequence

import aiohttp

from chaos.load.results import Outcome, Record
from chaos.load.workload import CancelPoint, PlannedRequest

DONE = b"data: [DONE]"
ERROR_EVENT = b'data: {"error"'
# Long enough for the usage event and the end mark, which come last.
TAIL_BYTES = 2048
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":(\d+)')
_CACHED_TOKENS = re.compile(rb'"cached_tokens":(\d+)')


class _Failure(Exception):  # noqa: N818  reads as the state it reports
    """The request failed for a reason that the HTTP client does not see."""


class _Cancelled(Exception):  # noqa: N818  planned, no error
    """The client walks away from an answer."""


class Client:
    """Posts requests to its URLs in turn; `started` is the run's start on the loop's clock."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        *,
        headers: Mapping[str, str],
        timeout_seconds: float,
        started: float,
    ) -> None:
        self._session = session
        self._urls = urls
        self._headers = {"content-type": "application/json", **headers}
        self._timeout_seconds = timeout_seconds
        self._started = started

    async def send(self, planned: PlannedRequest) -> Record:
        """Send a request and read its answer to the end. Failures become records."""
        exchange = _Exchange(planned, self._elapsed())
        outcome, reason = Outcome.OK, None
        try:
            async with asyncio.timeout(self._limit(planned)):
                await self._exchange(exchange)
        except _Cancelled:
            outcome = Outcome.CANCELLED
        except TimeoutError:
            cancelled = planned.cancel is CancelPoint.AFTER_DELAY
            outcome, reason = (Outcome.CANCELLED, None) if cancelled else (Outcome.ERROR, "timeout")
        except (_Failure, aiohttp.ClientError, OSError) as error:
            outcome, reason = Outcome.ERROR, reason_of(error)
        return exchange.record(self._elapsed(), outcome, reason)

    async def _exchange(self, exchange: "_Exchange") -> None:
        planned = exchange.planned
        url = self._urls[planned.index % len(self._urls)]
        async with self._session.post(url, data=planned.body, headers=self._headers) as response:
            exchange.status = response.status
            exchange.served_by = response.headers.get("x-served-by")
            async for chunk in response.content.iter_any():
                exchange.receive(chunk, self._elapsed())
                if planned.cancel is CancelPoint.FIRST_BYTE:
                    # Closing in place of releasing: an unread answer must end the connection.
                    response.close()
                    raise _Cancelled
        exchange.check()

    def _limit(self, planned: PlannedRequest) -> float:
        early = planned.cancel is CancelPoint.AFTER_DELAY
        return planned.cancel_delay_seconds if early else self._timeout_seconds

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._started


class _Exchange:
    """What has been seen of one answer so far."""

    def __init__(self, planned: PlannedRequest, sent_seconds: float) -> None:
        self.planned = planned
        self.status: int | None = None
        self.served_by: str | None = None
        self._sent_seconds = sent_seconds
        self._first_byte_seconds: float | None = None
        self._tail = b""
        self._error_event = False

    def receive(self, chunk: bytes, now: float) -> None:
        """Note a piece of the body."""
        if self._first_byte_seconds is None:
            self._first_byte_seconds = now
        self._error_event = self._error_event or ERROR_EVENT in chunk
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def check(self) -> None:
        """Judge an answer that ended in good order. Raises _Failure."""
        if self.status != 200:
            raise _Failure(f"http_{self.status}")
        if self._error_event:
            raise _Failure("error_event")
        if self.planned.stream and DONE not in self._tail:
            raise _Failure("incomplete")

    def record(self, now: float, outcome: Outcome, reason: str | None) -> Record:
        """Put down the result."""
        scheduled, first = self.planned.at_seconds, self._first_byte_seconds
        return Record(
            index=self.planned.index,
            scheduled_seconds=scheduled,
            lag_seconds=max(0.0, self._sent_seconds - scheduled),
            total_seconds=now - scheduled,
            outcome=outcome,
            reason=reason,
            ttft_seconds=None if first is None else first - scheduled,
            status=self.status,
            served_by=self.served_by,
            prompt_tokens=_number(_PROMPT_TOKENS, self._tail),
            cached_tokens=_number(_CACHED_TOKENS, self._tail),
        )


def reason_of(error: Exception) -> str:
    """Name what went wrong, as a key of the summary's `errors_by_reason`."""
    match error:
        case _Failure():
            return str(error)
        case aiohttp.ClientConnectorError():
            return "connect"
        case aiohttp.ClientPayloadError():
            return "truncated"
        case aiohttp.ServerDisconnectedError():
            return "disconnected"
        case ConnectionResetError() | aiohttp.ClientOSError():
            return "reset"
        case _:
            return type(error).__name__


def _number(pattern: re.Pattern[bytes], text: bytes) -> int:
    match = pattern.search(text)
    return int(match[1]) if match else 0
