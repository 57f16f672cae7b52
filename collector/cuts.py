"""Cuts of scrapes that happen one endpoint at a time, assembled into one cut per replica."""

from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from state.model import BoolArray, Cut, EndpointUid, IntArray, ReplicaId, UidArray

Origin = tuple[ReplicaId, int]
"""A replica and its incarnation."""


class Columns(msgspec.Struct):
    """What one origin had assigned and seen done, by endpoint slot."""

    present: BoolArray
    assigned: IntArray
    done: IntArray


class CutTable:
    """For each endpoint the totals of every replica at that endpoint's own last scrape.

    Rows of one endpoint are replaced together. Slots are stable; those of removed endpoints are
    used again.
    """

    def __init__(self) -> None:
        self._slots: dict[EndpointUid, int] = {}
        self._free: list[int] = []
        self._uids: UidArray = np.zeros(64, np.uint64)
        self._columns: dict[Origin, Columns] = {}

    def record(self, uid: EndpointUid, cuts: Sequence[Cut]) -> None:
        """Replace the endpoint's rows by those of the moment its scrape was sent."""
        slot = self._slot(uid)
        self._clear(slot)
        key = np.uint64(uid)
        for cut in cuts:
            found = np.flatnonzero(cut.uids == key)
            if found.size:
                columns = self._columns_of((cut.replica, cut.incarnation))
                columns.present[slot] = True
                columns.assigned[slot] = cut.assigned_total[found[0]]
                columns.done[slot] = cut.done_total[found[0]]

    def retain(self, uids: Collection[EndpointUid]) -> None:
        """Drop the rows of all other endpoints."""
        for uid in [uid for uid in self._slots if uid not in uids]:
            slot = self._slots.pop(uid)
            self._clear(slot)
            self._free.append(slot)

    def cuts(self) -> tuple[Cut, ...]:
        """Return one cut per origin; origins without a row are forgotten."""
        self._columns = {o: c for o, c in self._columns.items() if c.present.any()}
        return tuple(
            Cut(
                replica=replica,
                incarnation=incarnation,
                uids=self._uids[columns.present],
                assigned_total=columns.assigned[columns.present],
                done_total=columns.done[columns.present],
            )
            for (replica, incarnation), columns in self._columns.items()
        )

    def _slot(self, uid: EndpointUid) -> int:
        slot = self._slots.get(uid)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._slots)
            if slot == self._uids.size:
                self._grow()
            self._slots[uid] = slot
            self._uids[slot] = uid
        return slot

    def _clear(self, slot: int) -> None:
        for columns in self._columns.values():
            columns.present[slot] = False

    def _columns_of(self, origin: Origin) -> Columns:
        columns = self._columns.get(origin)
        if columns is None:
            size = self._uids.size
            columns = self._columns[origin] = Columns(
                np.zeros(size, np.bool_), np.zeros(size, np.int64), np.zeros(size, np.int64)
            )
        return columns

    def _grow(self) -> None:
        self._uids = np.concatenate([self._uids, np.zeros_like(self._uids)])
        for columns in self._columns.values():
            columns.present = np.concatenate([columns.present, np.zeros_like(columns.present)])
            columns.assigned = np.concatenate([columns.assigned, np.zeros_like(columns.assigned)])
            columns.done = np.concatenate([columns.done, np.zeros_like(columns.done)])
