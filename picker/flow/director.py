"""From a request to a booked placement: parse, find candidates, schedule, book."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np

from picker.flow.errors import filtered_out, no_endpoints
from picker.flow.picks import PickLog, PickRecord
from picker.flow.sent import SentPrefixes
from picker.flow.subset import subset_mask
from picker.requests.api import api_of
from picker.requests.errors import InvalidJson
from picker.requests.headers import request_path
from picker.requests.model import Api, InferenceRequest, ParseSettings
from picker.requests.parse import parse
from picker.requests.rewrite import splice_model
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import Placement
from picker.scheduling.scheduler import Scheduler
from state.ledger import Booking
from state.merge import Merge
from state.model import BoolArray, EndpointUid
from state.runtime.clock import Clock
from state.view import PoolView

DEFAULT_OUTPUT_TOKENS = 256
"""Output length booked for a request that sets no limit."""


class RequestParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway has shown of a request when the destination must be named."""

    headers: Mapping[str, bytes]
    body: bytes | None = None
    """None: the request has none, or it does not pass through us."""
    partial: bool = False
    subset: Sequence[str] | None = None
    """The gateway's hint; None: it gave none."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A booked decision. Whoever gets it owns the booking."""

    destination: str
    """`ip:port`, or several in the order of retry."""
    booking: Booking
    request: InferenceRequest
    rewritten_body: bytes | None
    """The body with the target model in it; None: leave the body as it came."""


class Observer(Protocol):
    """Hears of decisions, for metrics."""

    def picked(self, *, reason: str, seconds: float) -> None:
        """A request was placed."""


class Director:
    """Places requests of one pool on behalf of one replica. Synchronous throughout."""

    def __init__(
        self,
        *,
        merge: Merge,
        scheduler: Scheduler,
        delay: ExpectedDelay,
        picks: PickLog,
        observer: Observer,
        clock: Clock,
        parse_settings: ParseSettings,
    ) -> None:
        self._merge = merge
        self._scheduler = scheduler
        self._delay = delay
        self._picks = picks
        self._observer = observer
        self._clock = clock
        self._parse_settings = parse_settings
        self._sent = SentPrefixes()
        self._table: PoolView | None = None

    def place(self, parts: RequestParts) -> Placed:
        """Decide and book; raises RequestError or Refused, and then nothing is booked."""
        started = self._clock.monotonic()
        request = self._read(parts)
        view = self._view(started)
        placement = self._schedule(request, view, parts.subset)
        slot = placement.pick.slots[0]
        chosen = view.endpoints[slot]
        rewritten = self._rewrite(request, parts)
        cached = self._cached_tokens(request, view, placement, chosen.uid)
        self._record(request, view, placement, cached)
        self._sent.record(request, chosen.uid)
        uncached = request.prompt_tokens - cached
        booking = self._merge.ledger.book(
            chosen.uid,
            prefill_tokens=uncached,
            decode_tokens=request.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
            prefilled_at=started + self._delay.prefill_seconds(view, slot, uncached),
        )
        self._observer.picked(reason=placement.reason, seconds=self._clock.monotonic() - started)
        return Placed(
            destination=",".join(view.endpoints[slot].id for slot in placement.pick.slots),
            booking=booking,
            request=request,
            rewritten_body=rewritten,
        )

    def uid_of(self, endpoint_id: str) -> EndpointUid | None:
        """Return the identity behind an `ip:port` that the gateway reports; None if unknown."""
        for endpoint in self._merge.view.endpoints:
            if endpoint.id == endpoint_id:
                return endpoint.uid
        return None

    def _cached_tokens(
        self, request: InferenceRequest, view: PoolView, placement: Placement, uid: EndpointUid
    ) -> int:
        """Return how much of the prompt the endpoint is expected to have cached.

        What this replica sent there, and on the holder of the prefix at least what caches hold of
        an average request: its peers sent theirs as well.
        """
        sent = self._sent.cached_tokens(request, uid)
        if placement.narrowed_by is None:
            return sent
        shared = min(view.mean_cached_tokens, request.tokens_in(len(request.prefix)))
        return max(sent, min(int(shared), request.prompt_tokens))

    def _read(self, parts: RequestParts) -> InferenceRequest:
        path = request_path(parts.headers)
        if (
            parts.body == b""
            and not parts.partial
            and api_of(path.partition("?")[0].rstrip("/")) is not Api.OTHER
        ):
            raise InvalidJson("the body is empty", b"")
        return parse(
            path,
            parts.headers,
            parts.body or b"",
            partial=parts.partial,
            settings=self._parse_settings,
        )

    def _view(self, now: float) -> PoolView:
        self._merge.ledger.settle(now)
        view = self._merge.view
        view.now = now
        if view is not self._table:
            self._table = view
            self._sent.keep(view.slots)
        return view

    def _schedule(
        self, request: InferenceRequest, view: PoolView, subset: Sequence[str] | None
    ) -> Placement:
        candidates = _candidates(view, subset)
        if not np.count_nonzero(candidates):
            raise no_endpoints("failed to find endpoint candidates for serving the request")
        placements = self._scheduler.schedule(request, view, candidates)
        if not placements:
            raise filtered_out()
        return next(iter(placements.values()))

    def _rewrite(self, request: InferenceRequest, parts: RequestParts) -> bytes | None:
        target = request.target_model
        if not parts.body or target is None or target == request.model:
            return None
        return splice_model(parts.body, target, partial=parts.partial)

    def _record(
        self, request: InferenceRequest, view: PoolView, placement: Placement, cached: int
    ) -> None:
        self._picks.add(
            PickRecord(
                at=self._clock.wall(),
                request_id=request.request_id,
                model=request.model,
                path=request.path,
                prompt_tokens=request.prompt_tokens,
                cached_tokens=cached,
                endpoint=view.endpoints[placement.pick.slots[0]].id,
                profile=placement.profile,
                reason=placement.reason,
                endpoints=view.endpoints,
                candidates=placement.candidates,
                scores=placement.scores,
                delays=self._delay.seconds(view),
                view_age_seconds=view.peers_age_seconds,
                versions=dict(view.versions),
            )
        )


def _candidates(view: PoolView, subset: Sequence[str] | None) -> BoolArray:
    if subset is None:
        return np.ones(len(view), np.bool_)
    return subset_mask(view, subset)
