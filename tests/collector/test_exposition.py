"""Which samples and pages are read, and that they mean what the reference parser says."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collector.errors import FailureReason, ScrapeFailed
from collector.exposition import Family, check_page, parse_labels, scan
from tests.collector.fakes import CAPTURES

WANTED = {b"num_requests_waiting", b"kv", b"hits_total"}


def one(line: str) -> float | None:
    """Return the value of the one wanted sample of a page, None if it is rejected."""
    family = scan(line.encode(), b"vllm:", WANTED)[b"num_requests_waiting"]
    assert 1 == len(family.samples) + family.rejected
    return next(iter(family.samples.values()), None)


def labels(line: str) -> dict[str, str]:
    (block,) = scan(line.encode(), b"vllm:", WANTED)[b"num_requests_waiting"].samples
    return parse_labels(block)


@pytest.mark.parametrize(
    ("rest", "value"),
    [
        ('{engine="0"} 7', 7.0),
        ("{} 7", 7.0),
        (" 7", 7.0),
        ("\t7", 7.0),
        (' {engine="0"} 7', 7.0),
        ('{engine="0"}7', 7.0),
        ('{engine="0"}\t \t7\t', 7.0),
        ('{ engine = "0" , model = "x" , } 7', 7.0),
        ('{engine="0"} 1e+21', 1e21),
        ('{engine="0"} 1.0322907136e+011', 1.0322907136e11),
        ('{engine="0"} +Inf', math.inf),
        ('{engine="0"} -inf', -math.inf),
        ('{engine="0"} 7 1613993498553', 7.0),
        ('{engine="0"} 7 # {trace_id="}"} 0.5', 7.0),
        ('{engine="0"} 7\r', 7.0),
    ],
)
def test_every_spelling_of_a_sample_is_read(rest: str, value: float) -> None:
    """Spaces, tabs, exponents, timestamps, exemplars and line ends do not matter."""
    for tail in "", "\n", "\n# EOF":
        assert value == one(f"vllm:num_requests_waiting{rest}{tail}")


@pytest.mark.parametrize("spelling", ["NaN", "nan"])
def test_nan_is_a_value(spelling: str) -> None:
    """NaN is read as such: what to make of it is not the reader's business."""
    value = one(f"vllm:num_requests_waiting {spelling}")
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    "rest",
    [
        '{engine="0"} 0x10',
        '{engine="0"} 1,5',
        '{engine="0"} 1_000',
        '{engine="0"} ',
        '{engine="0"}',
        "{engine=0} 7",
        '{engine="0} 7',
        '{engine="0',
        '{engine="0"} 7 8 9',
        '{engine="0"} seven',
    ],
)
def test_bad_sample_is_rejected_and_the_page_kept(rest: str) -> None:
    """A line that is no sample is counted, and its neighbours are read."""
    page = f"vllm:kv 1\nvllm:num_requests_waiting{rest}\nvllm:hits_total 2\n"
    families = scan(page.encode(), b"vllm:", WANTED)
    assert 1 == families[b"num_requests_waiting"].rejected
    assert {b"{}": 1.0} == families[b"kv"].samples
    assert {b"{}": 2.0} == families[b"hits_total"].samples


def test_name_must_end_where_the_wanted_one_does() -> None:
    """A wanted name is a prefix of others, which are not read."""
    page = b"vllm:num_requests_waiting_by_reason 9\nvllm:kvx{} 9\nvllm:kv 1\nxvllm:kv 9\n"
    assert {b"kv": Family(samples={b"{}": 1.0})} == scan(page, b"vllm:", WANTED)


def test_name_in_comments_is_not_a_sample() -> None:
    """HELP and TYPE lines name series without being samples."""
    page = b"# HELP vllm:kv text\n# TYPE vllm:kv gauge\n#vllm:kv 3\n"
    assert {} == scan(page, b"vllm:", WANTED)


def test_family_in_two_places_is_one() -> None:
    """Series of one name are found wherever they stand; of equal series the last counts."""
    page = b'vllm:kv{e="0"} 1\nother 5\nvllm:kv{e="1"} 2\nvllm:hits_total 3\nvllm:kv{e="0"} 4\n'
    assert {b'{e="0"}': 4.0, b'{e="1"}': 2.0} == scan(page, b"vllm:", WANTED)[b"kv"].samples


def test_label_values_may_hold_anything() -> None:
    """Braces, quotes, commas and escapes inside label values do not end them."""
    line = r'vllm:num_requests_waiting{a="} 1 {",b="x\"y",c="l\nm\\",d="ü, #"} 7'
    assert {"a": "} 1 {", "b": 'x"y', "c": "l\nm\\", "d": "ü, #"} == labels(line)


@pytest.mark.parametrize("count", [10_000, 100_000])
def test_hostile_label_block_costs_no_more_than_its_length(count: int) -> None:
    """An unterminated block of any length is rejected without backtracking."""
    for filler in 'a="b",', '\\"', "{", 'a="\\\\"':
        page = ("vllm:kv{" + filler * count).encode()
        assert 1 == scan(page, b"vllm:", WANTED)[b"kv"].rejected


@pytest.mark.parametrize(
    ("content_type", "page", "reason"),
    [
        ("application/json", b'[{"iter": 1}]', FailureReason.CONTENT_TYPE),
        ("text/html; charset=utf-8", b"x 1", FailureReason.CONTENT_TYPE),
        ("application/vnd.google.protobuf", b"x", FailureReason.CONTENT_TYPE),
        ("text/plain", b'[{"iter": 1}]', FailureReason.NOT_EXPOSITION),
        ("text/plain", b" \n<!DOCTYPE html>", FailureReason.NOT_EXPOSITION),
        (None, b'{"error": 1}', FailureReason.NOT_EXPOSITION),
        ("text/plain", b"\xff\xfev\x00", FailureReason.NOT_EXPOSITION),
        ("text/plain", b"\xef\xbb\xbfx 1", FailureReason.NOT_EXPOSITION),
        ("text/plain", b"", FailureReason.EMPTY),
        ("text/plain", b"\n\n", FailureReason.EMPTY),
    ],
)
def test_other_documents_are_refused(
    content_type: str | None, page: bytes, reason: FailureReason
) -> None:
    """What is no exposition page is refused as a whole, by type or by content."""
    with pytest.raises(ScrapeFailed) as caught:
        check_page(content_type, page)
    assert reason is caught.value.reason


def test_json_page_names_the_right_path() -> None:
    """trtllm-serve answers JSON at /metrics: the error says where its text is."""
    with pytest.raises(ScrapeFailed, match="/prometheus/metrics"):
        check_page("application/json", b"[]")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; version=1.0.0; charset=utf-8",
        "TEXT/PLAIN",
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        None,
        "",
    ],
)
def test_text_pages_are_accepted(content_type: str | None) -> None:
    """Both text formats are read, also without a type."""
    check_page(content_type, b"\n# HELP x y\n")


NAMES = st.sampled_from(
    ["num_requests_waiting", "num_requests_waiting_by_reason", "kv", "kv_x", "hits_total", "hits"]
)
LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", "\n", "} 5", "{", '",a="', "\\n", "# x", "vllm:kv 3", "\nvllm:kv 3"]
)
LABEL_SETS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True),
    LABEL_VALUES,
    max_size=3,
)
VALUES = st.sampled_from(["NaN", "nan", "+Inf", "-inf", "1e+21", "0", "-0.0", "1.5e-7"]) | (
    st.floats(allow_nan=False).map(repr)
)
TIMES = st.none() | st.integers(-(10**6), 10**13)
BLANKS = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def pages(draw: st.DrawFn) -> str:
    """Draw a page with one spelling of blanks, so that equal series have equal blocks."""
    blank, comma, lead = draw(BLANKS), draw(st.sampled_from(["", ","])), draw(BLANKS)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = draw(st.lists(st.tuples(NAMES, LABEL_SETS, VALUES, TIMES), max_size=8))
    text = draw(st.sampled_from(["", "\n", "# HELP vllm:kv text\n# TYPE vllm:kv gauge\n"]))
    for name, pairs, value, time in lines:
        inner = ",".join(f'{k}{blank}={blank}"{_escape(v)}"' for k, v in sorted(pairs.items()))
        block = f"{lead}{{{inner}{comma if inner else ''}}}" if inner or lead else ""
        text += f"vllm:{name}{block} {value}{'' if time is None else f' {time}'}{end}"
    return text


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _reference(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], str]:
    return {
        (sample.name, frozenset(sample.labels.items())): repr(float(sample.value))
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.removeprefix("vllm:").encode() in WANTED
    }


@settings(max_examples=400, deadline=None)
@given(pages())
def test_pages_mean_what_the_reference_parser_says(page: str) -> None:
    """On valid pages the targeted scan and prometheus_client's parser find the same samples."""
    found = {
        (f"vllm:{name.decode()}", frozenset(parse_labels(block).items())): repr(value)
        for name, family in scan(page.encode(), b"vllm:", WANTED).items()
        for block, value in family.samples.items()
    }
    assert _reference(page) == found


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_survived(page: bytes) -> None:
    """No page raises anything but a refusal."""
    for family in scan(b"vllm:kv" + page, b"vllm:", WANTED).values():
        for block in family.samples:
            parse_labels(block)


@pytest.mark.parametrize("headers", sorted(CAPTURES.glob("*.headers")), ids=lambda path: path.stem)
def test_recorded_pages_are_accepted(headers: Path) -> None:
    """Every page that a vLLM server sent is accepted with the content type it came with."""
    (content_type,) = re.findall(r"(?mi)^content-type: (.*)$", headers.read_text())
    check_page(content_type, headers.with_suffix("").read_bytes())
