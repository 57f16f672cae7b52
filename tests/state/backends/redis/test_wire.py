"""What goes into Redis comes out the same; anything else is one kind of error."""

import contextlib
import math

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.backends.redis import wire
from state.errors import WireError
from state.model import Cut, EndpointUid, Gauge, Observation, ReplicaId, ShardId, Snapshot

NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
COUNTS = st.integers(0, 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
UIDS = st.lists(st.integers(0, 2**64 - 1), max_size=5)
SIGNALS = wire._OPTIONAL


@st.composite
def gauges(draw: st.DrawFn) -> Gauge:
    uids = draw(UIDS)
    columns = [
        np.array(draw(st.lists(COUNTS, min_size=len(uids), max_size=len(uids))), np.int64)
        for _ in range(5)
    ]
    return Gauge(
        replica=ReplicaId(draw(NAMES)),
        incarnation=draw(COUNTS),
        seq=draw(COUNTS),
        epoch=draw(NAMES),
        uids=np.array(uids, np.uint64),
        requests=columns[0],
        prefill_tokens=columns[1],
        decode_tokens=columns[2],
        assigned_total=columns[3],
        done_total=columns[4],
    )


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    gauge = draw(gauges())
    return Cut(
        replica=gauge.replica,
        incarnation=gauge.incarnation,
        uids=gauge.uids,
        assigned_total=gauge.assigned_total,
        done_total=gauge.done_total,
    )


OBSERVATIONS = st.builds(
    Observation,
    uid=st.integers(0, 2**64 - 1).map(EndpointUid),
    age_seconds=NUMBERS,
    **{name: st.none() | NUMBERS for name in SIGNALS},
)
SNAPSHOTS = st.builds(
    Snapshot,
    shard=NAMES.map(ShardId),
    fence=COUNTS,
    version=COUNTS,
    observations=st.lists(OBSERVATIONS, max_size=4).map(tuple),
    cuts=st.lists(cuts(), max_size=3).map(tuple),
)


def plain(value: Gauge | Snapshot | Cut) -> object:
    """Return fields that compare, arrays as lists."""
    if isinstance(value, Snapshot):
        return [value.shard, value.order, value.observations, [plain(cut) for cut in value.cuts]]
    fields = [getattr(value, name) for name in value.__struct_fields__]
    return [each.tolist() if isinstance(each, np.ndarray) else each for each in fields]


@given(gauges())
def test_gauge_comes_back_the_same(gauge: Gauge) -> None:
    """From both readers."""
    blob = wire.encode_gauge(gauge)
    event = wire.decode_event(blob)
    assert isinstance(event, Gauge)
    assert plain(gauge) == plain(wire.decode_gauge(blob)) == plain(event)


@given(SNAPSHOTS)
def test_snapshot_comes_back_the_same(snapshot: Snapshot) -> None:
    """With its observations and cuts."""
    blob = wire.encode_snapshot(snapshot)
    event = wire.decode_event(blob)
    assert isinstance(event, Snapshot)
    assert plain(snapshot) == plain(wire.decode_snapshot(blob)) == plain(event)


def test_departure_comes_back_the_same() -> None:
    """A replica's id is all it says."""
    assert wire.decode_event(wire.encode_departure(ReplicaId("a"))) == "a"


@given(gauges() | SNAPSHOTS)
def test_every_truncation_is_a_wire_error(value: Gauge | Snapshot) -> None:
    """A cut-off write is never read as a shorter one."""
    blob = wire.encode_gauge(value) if isinstance(value, Gauge) else wire.encode_snapshot(value)
    for length in range(len(blob)):
        with pytest.raises(WireError):
            wire.decode_event(blob[:length])


@given(st.binary(max_size=200))
def test_random_bytes_are_a_wire_error(blob: bytes) -> None:
    """Nothing else escapes."""
    with pytest.raises(WireError):
        wire.decode_event(blob)


@given(gauges() | SNAPSHOTS, st.data())
def test_a_flipped_byte_is_readable_or_a_wire_error(
    value: Gauge | Snapshot, data: st.DataObject
) -> None:
    """Nothing else escapes here either."""
    blob = bytearray(
        wire.encode_gauge(value) if isinstance(value, Gauge) else wire.encode_snapshot(value)
    )
    blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        wire.decode_event(bytes(blob))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NAMES | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)


@given(st.sampled_from([wire.GAUGE, wire.SNAPSHOT, wire.DEPARTURE]), st.lists(VALUES, max_size=10))
def test_fields_of_foreign_types_are_a_wire_error(kind: str, fields: list[object]) -> None:
    """Valid msgpack of our version that means nothing."""
    blob = msgpack.packb([wire.VERSION, kind, *fields])
    with contextlib.suppress(WireError):
        wire.decode_event(blob)


def gauge_fields(**changes: object) -> bytes:
    """Return an empty gauge as bytes, with fields changed by position `f2`, `f3`…."""
    fields: list[object] = [wire.VERSION, wire.GAUGE, "a", 1, 1, "e", *[b""] * 6]
    for name, value in changes.items():
        fields[int(name[1:])] = value
    return bytes(msgpack.packb(fields))


def test_the_empty_gauge_is_readable() -> None:
    """The base of the cases below is sound."""
    assert (1, 1) == wire.decode_gauge(gauge_fields()).order


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (gauge_fields(f0=2), "version 2"),
        (gauge_fields(f0=True), "version True"),
        (gauge_fields(f1="x"), "kind"),
        (gauge_fields(f1=[]), "kind"),
        (gauge_fields(f2="n" * (wire.LONGEST_NAME + 1)), "text"),
        (gauge_fields(f3=-1), "integer"),
        (gauge_fields(f3=2**63), "integer"),
        (gauge_fields(f3=True), "integer"),
        (gauge_fields(f6=b"x" * 7), "column"),
        (gauge_fields(f6=b"x" * 8), "beside 1 endpoints"),
        (gauge_fields(f6=b"x" * 8 * (wire.MOST_ENDPOINTS + 1)), "column"),
        (b"\x00" * (wire.LARGEST_BLOB + 1), "bytes"),
        (b"\x91" * 5000, "no msgpack"),
    ],
)
def test_the_message_says_what_is_wrong(blob: bytes, said: str) -> None:
    """Bounds hold before anything large is built."""
    with pytest.raises(WireError, match=said):
        wire.decode_gauge(blob)


@pytest.mark.parametrize("number", [math.nan, math.inf, True, "1"])
def test_signals_are_finite_numbers(number: object) -> None:
    """NaN would poison every sum it is part of."""
    observation = [1, number, *[None] * len(SIGNALS)]
    blob = msgpack.packb([wire.VERSION, wire.SNAPSHOT, "0", 1, 1, [observation], []])
    with pytest.raises(WireError, match="finite"):
        wire.decode_snapshot(blob)


def test_a_snapshot_is_no_gauge() -> None:
    """A key holds one kind only."""
    blob = wire.encode_departure(ReplicaId("a"))
    with pytest.raises(WireError, match="kind"):
        wire.decode_gauge(blob)
