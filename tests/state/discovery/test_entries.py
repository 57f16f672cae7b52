"""Which lists of endpoints are accepted, and what is said about the others."""

import json

import pytest

from state.discovery.entries import MOST_BYTES, Entries, parse_entries
from state.errors import InvalidEndpoints

GOOD = {"name": "a", "address": "10.0.0.1", "port": 8000}


def entries(*given: object) -> Entries:
    return parse_entries(json.dumps({"endpoints": given}).encode(), source="pool.yaml")


def problem(**changes: object) -> str:
    merged = {key: value for key, value in (GOOD | changes).items() if value is not None}
    parsed = entries(merged)
    assert () == parsed.endpoints
    (only,) = parsed.problems
    return only


def unusable(text: bytes) -> str:
    with pytest.raises(InvalidEndpoints) as caught:
        parse_entries(text, source="pool.yaml")
    return str(caught.value)


def test_yaml_entry_has_every_field() -> None:
    """All documented fields of a YAML entry arrive in the endpoint."""
    text = b"""
endpoints:
- name: a
  namespace: prod
  address: 10.0.0.1
  port: 8000
  labels: {zone: east}
"""
    (endpoint,) = parse_entries(text, source="pool.yaml").endpoints
    assert ("a", "prod", "10.0.0.1:8000") == (endpoint.name, endpoint.namespace, endpoint.id)
    assert {"zone": "east"} == endpoint.labels


def test_json_and_yaml_are_equal() -> None:
    """JSON text and YAML text of one list give the same endpoints."""
    yaml_text = b"endpoints:\n- {name: a, address: 10.0.0.1, port: '8000'}\n"
    assert entries(GOOD) == parse_entries(yaml_text, source="pool.yaml")


def test_namespace_is_default_when_left_out() -> None:
    """A missing namespace means `default`."""
    assert "default" == entries(GOOD).endpoints[0].namespace


@pytest.mark.parametrize("port", [8000, "8000"])
def test_port_is_a_number_or_digits(port: object) -> None:
    """A port may be a number or a string of digits."""
    assert 8000 == entries(GOOD | {"port": port}).endpoints[0].port


@pytest.mark.parametrize("address", ["fd00::1", "[fd00::1]", "FD00:0::1"])
def test_ipv6_is_canonical_and_bracketed_on_the_wire(address: str) -> None:
    """Every spelling of an IPv6 address gives the same bracketed endpoint id."""
    assert "[fd00::1]:8000" == entries(GOOD | {"address": address}).endpoints[0].id


def test_empty_list_is_an_empty_pool() -> None:
    """An empty list is valid: the pool has no endpoints."""
    assert Entries(endpoints=(), problems=()) == entries()


@pytest.mark.parametrize("address", ["model-0.svc.local", "localhost", "10.0.0", "010.0.0.1", ""])
def test_hostname_is_refused_with_the_reason(address: str) -> None:
    """What is no address literal is refused, because names are not resolved."""
    text = problem(address=address)
    assert text.startswith("endpoints[0] 'a': address: ")
    assert not address or "write the address itself" in text


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "fe80::1%eth0"])
def test_address_must_mean_the_same_on_every_host(address: str) -> None:
    """Unspecified and host-scoped addresses are refused."""
    assert "cannot be reached from another host" in problem(address=address)


@pytest.mark.parametrize("port", [0, 65536, -1, "80a", "", "٨", 8000.0, True, "8_0", [8000]])
def test_port_out_of_range_or_no_number_is_named(port: object) -> None:
    """A bad port is quoted together with what a port must be."""
    assert f"endpoints[0] 'a': port: {port!r} is not a number from 1 to 65535" == problem(port=port)


@pytest.mark.parametrize("field", ["name", "address", "port"])
def test_missing_field_is_named(field: str) -> None:
    """A missing field is named."""
    assert f"{field}: missing" in problem(**{field: None})


def test_text_that_yaml_reads_as_a_number_asks_for_quotes() -> None:
    """A name that is no text says how to make it one."""
    assert "endpoints[0]: name: 7 is not text; put it in quotes" == problem(name=7)


def test_label_that_is_no_text_is_named() -> None:
    """The label whose value is no text is named."""
    assert "labels.rank: 1 is not text" in problem(labels={"rank": 1})


def test_unknown_fields_are_named() -> None:
    """A misspelt field is named, in an entry and beside the list."""
    assert "lables: unknown field" in problem(lables={})
    text = b'{"endpoints": [], "endpoint": []}'
    (beside,) = parse_entries(text, source="pool.yaml").problems
    assert "endpoint: unknown field; only `endpoints` is read" == beside


def test_second_entry_with_an_address_names_the_first() -> None:
    """Of two entries with one address and port the first counts, and both are named."""
    parsed = entries(GOOD, GOOD | {"name": "b"})
    assert ["a"] == [endpoint.name for endpoint in parsed.endpoints]
    (problem,) = parsed.problems
    assert problem.startswith(
        "endpoints[1] 'b': address: 10.0.0.1:8000 is already endpoints[0] 'a'"
    )


def test_good_entries_survive_bad_ones() -> None:
    """One bad entry does not cost the others."""
    parsed = entries(None, GOOD, [], {"name": "x"})
    assert ["a"] == [endpoint.name for endpoint in parsed.endpoints]
    assert 3 == len(parsed.problems)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"endpoints: [", b"\xff\xfe\x00", b"{}", b"endpoints: {}", b"endpoints:"]
)
def test_document_without_a_list_is_unusable(text: bytes) -> None:
    """Text that holds no list of endpoints is refused as a whole, with its source named."""
    assert unusable(text).startswith("pool.yaml: ")


def test_yaml_cannot_build_objects() -> None:
    """Python tags in the file are refused."""
    assert "neither YAML nor JSON" in unusable(b"endpoints: !!python/object/apply:os.getcwd []")


def test_document_over_the_limit_is_unusable() -> None:
    """More than 1 MiB is refused before it is parsed."""
    assert "larger than" in unusable(b" " * (MOST_BYTES + 1))


def test_deep_nesting_is_unusable() -> None:
    """Nesting beyond all reason is a parse error."""
    assert "pool.yaml" in unusable(b"[" * 100_000)
