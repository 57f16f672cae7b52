"""Reads endpoints from YAML or JSON text: the good ones, and what is wrong with the others."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import cast

import msgspec
import yaml

from state.errors import InvalidEndpoints
from state.model import Endpoint, EndpointId, canonical_address, make_endpoint

MOST_BYTES = 1 << 20
LONGEST_NAME = 253
FIELDS = ("name", "namespace", "address", "port", "labels")


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """The usable endpoints of a document, and one sentence for everything else in it."""

    endpoints: tuple[Endpoint, ...]
    problems: tuple[str, ...]


def parse_entries(text: bytes, *, source: str) -> Entries:
    """Return the endpoints of a document; raises InvalidEndpoints if it holds no list of them."""
    document = _load(text, source)
    entries = document.get("endpoints")
    if not isinstance(entries, list):
        raise InvalidEndpoints(source, ["endpoints: missing or no list; write `endpoints: [...]`"])
    problems = [
        f"{field}: unknown field; only `endpoints` is read"
        for field in document
        if field != "endpoints"
    ]
    taken: dict[EndpointId, str] = {}
    endpoints = []
    for index, entry in enumerate(entries):
        where = _describe(index, entry)
        try:
            endpoint = _endpoint(entry)
            _claim(taken, endpoint.id, where)
        except ValueError as error:
            problems.append(f"{where}: {error}")
        else:
            endpoints.append(endpoint)
    return Entries(endpoints=tuple(endpoints), problems=tuple(problems))


def _load(text: bytes, source: str) -> dict[object, object]:
    if len(text) > MOST_BYTES:
        raise InvalidEndpoints(source, [f"larger than {MOST_BYTES} bytes; split the pool"])
    try:
        # The libyaml loader: the pure Python one takes seconds for 1 MiB. JSON is YAML too.
        document: object = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InvalidEndpoints(source, [f"neither YAML nor JSON: {reason}"]) from error
    if not isinstance(document, dict):
        raise InvalidEndpoints(source, ["no mapping; write `endpoints: [...]`"])
    return cast("dict[object, object]", document)


def _describe(index: int, entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    named = f" {name[:LONGEST_NAME]!r}" if isinstance(name, str) and name else ""
    return f"endpoints[{index}]{named}"


def _claim(taken: dict[EndpointId, str], endpoint: EndpointId, where: str) -> None:
    first = taken.setdefault(endpoint, where)
    if first is not where:
        raise ValueError(f"address: {endpoint} is already {first}; remove one of the two")


def _endpoint(entry: object) -> Endpoint:
    if not isinstance(entry, dict):
        raise ValueError("no mapping; write {name, address, port}")  # noqa: TRY004
    for field in entry:
        if field not in FIELDS:
            raise ValueError(f"{field}: unknown field; known are {', '.join(FIELDS)}")
    return make_endpoint(
        name=_text(entry, "name"),
        namespace=_text(entry, "namespace", default="default"),
        address=_address(_text(entry, "address")),
        port=_port(entry.get("port")),
        labels=_labels(entry.get("labels")),
    )


def _text(entry: Mapping[object, object], field: str, default: str | None = None) -> str:
    value = entry.get(field, default)
    if value is None:
        raise ValueError(f"{field}: missing")
    if not isinstance(value, str):
        raise ValueError(f"{field}: {value!r} is not text; put it in quotes")  # noqa: TRY004
    if not 0 < len(value) <= LONGEST_NAME:
        raise ValueError(f"{field}: must have 1 to {LONGEST_NAME} characters")
    return value


def _address(text: str) -> str:
    try:
        address = ip_address(canonical_address(text))
    except ValueError:
        raise ValueError(
            f"address: {text!r} is not an IPv4 or IPv6 address; "
            "names are not resolved, write the address itself"
        ) from None
    if address.is_unspecified or "%" in str(address):
        raise ValueError(f"address: {text!r} cannot be reached from another host")
    return str(address)


def _port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if value is None:
        raise ValueError("port: missing")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError(f"port: {value!r} is not a number from 1 to 65535")
    return value


def _labels(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"labels: {value!r} is no mapping; write {{key: value}}")  # noqa: TRY004
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise ValueError(f"labels.{key}: {text!r} is not text; put key and value in quotes")  # noqa: TRY004
    return value
