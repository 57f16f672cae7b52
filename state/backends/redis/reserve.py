"""Reservations in Redis: one script each, with a deadline that a pick can afford."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from state.backends.redis.calls import Calls
from state.backends.redis.keys import Keys
from state.model import EndpointUid, Membership
from state.ports import Candidate, Load, Refusal, Reservation

RESERVE_SECONDS = 0.003
MOST_AT_ONCE = 1_000
"""Of requests in one script, so that it holds up others for some milliseconds only."""

_Item = TypeVar("_Item")
_REFUSALS = {each.value.encode(): each for each in Refusal}


class RedisReserver:
    """Books in the store; fits `Reserver`."""

    def __init__(self, keys: Keys, *, swift: Calls, patient: Calls) -> None:
        """Reserve through `swift` calls, everything else through `patient` ones."""
        self._keys = keys
        self._swift = swift
        self._patient = patient

    async def reserve(
        self,
        membership: Membership,
        request: str,
        candidates: Sequence[Candidate],
        *,
        tokens: int,
    ) -> EndpointUid | Refusal:
        arguments: list[str | int] = []
        for each in candidates:
            cap = -1 if each.cap is None else each.cap
            arguments += [each.uid, repr(each.cost), each.known_tokens]
            arguments += [repr(each.seconds_per_token), cap]
        keys, who = self._entering_keys(membership), _who(membership)
        reply = await self._swift.run("reserve", keys, *who, request, tokens, *arguments)
        refusal = _REFUSALS.get(reply)
        return EndpointUid(int(reply)) if refusal is None else refusal

    async def settle(self, membership: Membership, requests: Sequence[str]) -> None:
        keys = [self._keys.ledger(_name(membership)), self._keys.reserved]
        for chunk in _chunks(requests):
            await self._patient.run("settle", keys, *chunk)

    async def release(self, membership: Membership, requests: Sequence[str]) -> None:
        keys, name = self._keys, _name(membership)
        names = [keys.ledger(name), keys.ledgers, keys.reserved, keys.released(name)]
        for chunk in _chunks(requests):
            await self._patient.run("release", names, name, *chunk)

    async def restore(self, membership: Membership, held: Sequence[Reservation]) -> bool:
        for chunk in _chunks(held):
            entries = [field for each in chunk for field in (each.request, each.uid, each.tokens)]
            keys = self._entering_keys(membership)
            if not await self._patient.run("restore", keys, *_who(membership), *entries):
                return False
        return True

    async def reap(self) -> int:
        keys = self._keys
        members = [keys.incarnations, keys.live]
        for dead in await self._patient.run("dead_ledgers", [*members, keys.ledgers]):
            name = dead.decode(errors="replace")
            incarnation, _, replica = name.partition(":")
            names = [*members, keys.ledger(name), keys.ledgers, keys.reserved]
            who = (replica, incarnation, name)
            reaped: int = await self._patient.run("reap", names, *who, MOST_AT_ONCE)
            if reaped:
                return reaped
        return 0

    async def load(self) -> Mapping[EndpointUid, Load]:
        fields: dict[bytes, bytes] = _pairs(await self._patient.run("load", [self._keys.reserved]))
        uids = {name.partition(b":")[0] for name in fields}
        return {
            EndpointUid(int(uid)): Load(
                requests=int(fields.get(uid + b":r", 0)), tokens=int(fields.get(uid + b":t", 0))
            )
            for uid in uids
        }

    def _entering_keys(self, membership: Membership) -> list[str]:
        keys, name = self._keys, _name(membership)
        ledger = [keys.ledger(name), keys.ledgers, keys.reserved, keys.released(name)]
        return [keys.incarnations, keys.live, *ledger]


def _name(membership: Membership) -> str:
    """Return what an incarnation's ledger is called."""
    return f"{membership.incarnation}:{membership.replica}"


def _who(membership: Membership) -> tuple[str | int, ...]:
    return (membership.replica, membership.incarnation, _name(membership))


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), MOST_AT_ONCE):
        yield items[start : start + MOST_AT_ONCE]


def _pairs(reply: Any) -> dict[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True))
