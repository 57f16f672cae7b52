"""Reservations of one process: the reference for the others."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from state.model import EndpointUid, Membership, ReplicaId
from state.ports import Candidate, Load, Refusal, Reservation

MOST_REAPED = 1_000
MOST_RELEASED = 10_000
"""Releases that came first are remembered up to this number per incarnation."""

_Owner = tuple[ReplicaId, int]


class _Ledger(msgspec.Struct):
    """What one incarnation has reserved."""

    membership: Membership
    held: dict[str, Reservation]
    released: deque[str]


class MemoryReserver:
    """Shared by the replicas of one process; fits `Reserver`."""

    def __init__(self, is_live: Callable[[Membership], bool]) -> None:
        """Ask the store who is live."""
        self._is_live = is_live
        self._ledgers: dict[_Owner, _Ledger] = {}

    async def reserve(
        self,
        membership: Membership,
        request: str,
        candidates: Sequence[Candidate],
        *,
        tokens: int,
    ) -> EndpointUid | Refusal:
        if not self._is_live(membership):
            return Refusal.FENCED
        ledger = self._ledger(membership)
        if request in ledger.held:
            return ledger.held[request].uid
        if request in ledger.released:
            return Refusal.RELEASED
        chosen = choose(candidates, await self.load())
        if chosen is None:
            return Refusal.FULL
        ledger.held[request] = Reservation(request=request, uid=chosen, tokens=tokens)
        return chosen

    async def settle(self, membership: Membership, requests: Sequence[str]) -> None:
        held = self._ledger(membership).held
        for request in requests:
            if request in held:
                held[request] = msgspec.structs.replace(held[request], tokens=0)

    async def release(self, membership: Membership, requests: Sequence[str]) -> None:
        ledger = self._ledger(membership)
        for request in requests:
            if ledger.held.pop(request, None) is None:
                ledger.released.append(request)

    async def restore(self, membership: Membership, held: Sequence[Reservation]) -> bool:
        if not self._is_live(membership):
            return False
        ledger = self._ledger(membership)
        for each in held:
            if each.request not in ledger.released:
                ledger.held.setdefault(each.request, each)
        return True

    async def reap(self) -> int:
        for owner, ledger in tuple(self._ledgers.items()):
            if self._is_live(ledger.membership):
                continue
            reaped = list(ledger.held)[:MOST_REAPED]
            for request in reaped:
                del ledger.held[request]
            if not ledger.held:
                del self._ledgers[owner]
            if reaped:
                return len(reaped)
        return 0

    async def load(self) -> Mapping[EndpointUid, Load]:
        found: dict[EndpointUid, Load] = {}
        for ledger in self._ledgers.values():
            for each in ledger.held.values():
                before = found.get(each.uid, NOTHING)
                found[each.uid] = Load(
                    requests=before.requests + 1, tokens=before.tokens + each.tokens
                )
        return found

    def _ledger(self, membership: Membership) -> _Ledger:
        owner = (membership.replica, membership.incarnation)
        if owner not in self._ledgers:
            self._ledgers[owner] = _Ledger(membership, {}, deque(maxlen=MOST_RELEASED))
        return self._ledgers[owner]


NOTHING = Load(requests=0, tokens=0)


def choose(candidates: Sequence[Candidate], load: Mapping[EndpointUid, Load]) -> EndpointUid | None:
    """Return the candidate of least cost that is below its cap; None: all are at theirs."""
    best: EndpointUid | None = None
    least = 0.0
    for each in candidates:
        there = load.get(each.uid, NOTHING)
        if each.cap is not None and there.requests >= each.cap:
            continue
        cost = each.cost + max(there.tokens - each.known_tokens, 0) * each.seconds_per_token
        if best is None or cost < least:
            best, least = each.uid, cost
    return best
