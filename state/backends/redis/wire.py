"""Gauges, snapshots and departures as bytes: msgpack arrays by position, schema version first.

Whatever cannot be read raises WireError: the bytes come from a shared store that others write too.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgpack
import numpy as np

from state.errors import WireError
from state.model import (
    Cut,
    EndpointUid,
    Gauge,
    IntArray,
    Observation,
    ReplicaId,
    ShardId,
    Snapshot,
    UidArray,
)

VERSION = 1
LARGEST_BLOB = 16 * 1024 * 1024
MOST_ENDPOINTS = 65_536
MOST_CUTS = 4_096
LONGEST_NAME = 1_024
LARGEST_INT = 2**63 - 1

GAUGE, SNAPSHOT, DEPARTURE = "g", "s", "d"

_COLUMN_BYTES = 8
_OPTIONAL = (
    "running",
    "waiting",
    "kv_usage",
    "kv_capacity_tokens",
    "prefill_tokens_per_second",
    "decode_seconds_per_token",
    "prefix_hits",
    "prefix_queries",
)
_Read = TypeVar("_Read")


def encode_gauge(gauge: Gauge) -> bytes:
    """Return a gauge's bytes."""
    columns = (
        gauge.requests,
        gauge.prefill_tokens,
        gauge.decode_tokens,
        gauge.assigned_total,
        gauge.done_total,
    )
    head = [VERSION, GAUGE, gauge.replica, gauge.incarnation, gauge.seq, gauge.epoch]
    return _pack([*head, _uid_bytes(gauge.uids), *map(_int_bytes, columns)])


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot's bytes."""
    observations = [
        [each.uid, each.age_seconds, *(getattr(each, name) for name in _OPTIONAL)]
        for each in snapshot.observations
    ]
    cuts = [
        [
            each.replica,
            each.incarnation,
            _uid_bytes(each.uids),
            _int_bytes(each.assigned_total),
            _int_bytes(each.done_total),
        ]
        for each in snapshot.cuts
    ]
    head = [VERSION, SNAPSHOT, snapshot.shard, snapshot.fence, snapshot.version]
    return _pack([*head, observations, cuts])


def encode_departure(replica: ReplicaId) -> bytes:
    """Return the bytes that say that a replica left."""
    return _pack([VERSION, DEPARTURE, replica])


def decode_gauge(blob: bytes) -> Gauge:
    """Return the gauge; raises WireError."""
    return _read(blob, {GAUGE: _gauge})


def decode_snapshot(blob: bytes) -> Snapshot:
    """Return the snapshot; raises WireError."""
    return _read(blob, {SNAPSHOT: _snapshot})


def decode_event(blob: bytes) -> Gauge | Snapshot | ReplicaId:
    """Return what came over the bus; raises WireError."""
    readers: dict[str, Callable[[list[Any]], Gauge | Snapshot | ReplicaId]] = {
        GAUGE: _gauge,
        SNAPSHOT: _snapshot,
        DEPARTURE: _departure,
    }
    return _read(blob, readers)


def _read(blob: bytes, readers: dict[str, Callable[[list[Any]], _Read]]) -> _Read:
    if len(blob) > LARGEST_BLOB:
        raise WireError(f"{len(blob)} bytes, more than {LARGEST_BLOB}")
    try:
        fields = msgpack.unpackb(blob, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"no msgpack: {type(error).__name__}") from error
    if not isinstance(fields, list) or len(fields) < 2:
        raise WireError("not an array with a version and a kind")
    if fields[0] != VERSION or isinstance(fields[0], bool):
        raise WireError(f"schema version {fields[0]!r:.40}, expected {VERSION}")
    kind = fields[1]
    reader = readers.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise WireError(f"kind {kind!r:.40} is not expected here")
    return reader(fields[2:])


def _gauge(fields: list[Any]) -> Gauge:
    replica, incarnation, seq, epoch, uids, *columns = _exactly(fields, 10)
    keys = _uids(uids)
    requests, prefill, decode, assigned, done = (_ints(each, len(keys)) for each in columns)
    return Gauge(
        replica=ReplicaId(_name(replica)),
        incarnation=_int(incarnation),
        seq=_int(seq),
        epoch=_name(epoch),
        uids=keys,
        requests=requests,
        prefill_tokens=prefill,
        decode_tokens=decode,
        assigned_total=assigned,
        done_total=done,
    )


def _snapshot(fields: list[Any]) -> Snapshot:
    shard, fence, version, observations, cuts = _exactly(fields, 5)
    return Snapshot(
        shard=ShardId(_name(shard)),
        fence=_int(fence),
        version=_int(version),
        observations=tuple(map(_observation, _list(observations, MOST_ENDPOINTS))),
        cuts=tuple(map(_cut, _list(cuts, MOST_CUTS))),
    )


def _departure(fields: list[Any]) -> ReplicaId:
    (replica,) = _exactly(fields, 1)
    return ReplicaId(_name(replica))


def _observation(value: Any) -> Observation:
    uid, age, *optional = _exactly(_list(value, 32), 2 + len(_OPTIONAL))
    signals = {
        name: None if signal is None else _float(signal)
        for name, signal in zip(_OPTIONAL, optional, strict=True)
    }
    return Observation(uid=EndpointUid(_int(uid, 2**64 - 1)), age_seconds=_float(age), **signals)


def _cut(value: Any) -> Cut:
    replica, incarnation, uids, assigned, done = _exactly(_list(value, 32), 5)
    keys = _uids(uids)
    return Cut(
        replica=ReplicaId(_name(replica)),
        incarnation=_int(incarnation),
        uids=keys,
        assigned_total=_ints(assigned, len(keys)),
        done_total=_ints(done, len(keys)),
    )


def _exactly(fields: list[Any], count: int) -> list[Any]:
    if len(fields) != count:
        raise WireError(f"{len(fields)} fields, expected {count}")
    return fields


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise WireError(f"not an array of at most {most}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise WireError(f"not a text of at most {LONGEST_NAME} characters")
    return value


def _int(value: Any, largest: int = LARGEST_INT) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
        raise WireError(f"not an integer between 0 and {largest}")
    return value


def _float(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise WireError("not a finite number")
    return float(value)


def _column(value: Any) -> bytes:
    most = MOST_ENDPOINTS * _COLUMN_BYTES
    if not isinstance(value, bytes) or len(value) % _COLUMN_BYTES or len(value) > most:
        raise WireError(f"not a column of at most {MOST_ENDPOINTS} values")
    return value


def _uids(value: Any) -> UidArray:
    return np.frombuffer(_column(value), "<u8").astype(np.uint64)


def _ints(value: Any, count: int) -> IntArray:
    column = np.frombuffer(_column(value), "<i8").astype(np.int64)
    if len(column) != count:
        raise WireError(f"a column of {len(column)} values beside {count} endpoints")
    return column


def _uid_bytes(column: UidArray) -> bytes:
    return column.astype("<u8").tobytes()


def _int_bytes(column: IntArray) -> bytes:
    return column.astype("<i8").tobytes()


def _pack(fields: Sequence[object]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed
