"""Our ext_proc messages are those of Envoy's published descriptors."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tests.support import descriptors

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-xds/bin/python"
OURS = "murmuration.ext_proc."
PUBLISHED = {
    "envoy.service.ext_proc.v3.external_processor_pb2": "envoy.service.ext_proc.v3.",
    "envoy.config.core.v3.base_pb2": "envoy.config.core.v3.",
    "envoy.type.v3.http_status_pb2": "envoy.type.v3.",
    "envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2": (
        "envoy.extensions.filters.http.ext_proc.v3.ProcessingMode."
    ),
}
# The same on the wire: a header need not be UTF-8, and the code of a status is a number to us.
SAME_ON_THE_WIRE = {
    (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING),
    (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM),
}

ours = descriptors.describe(["picker.proto.ext_proc_pb2"])


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Ask the environment that holds the published descriptors; they must not be installed here."""
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON} is missing: `make test` sets it up")
    command = [str(PYTHON), descriptors.__file__, *PUBLISHED]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    described: dict[str, Any] = json.loads(output)
    return described


def their_name(name: str, published: dict[str, Any]) -> str:
    """Return the one published name of something of ours."""
    suffix = name.removeprefix(OURS)
    (found,) = [prefix + suffix for prefix in PUBLISHED.values() if prefix + suffix in published]
    return found


@pytest.mark.parametrize("name", sorted(ours))
def test_messages_and_enums_are_the_published_ones(name: str, published: dict[str, Any]) -> None:
    """Numbers, types, labels, oneofs and enum values agree, field by field."""
    theirs = published[their_name(name, published)]
    for member, mine in ours[name].items():
        if isinstance(mine, int):
            assert theirs[member] == mine
        else:
            assert_same_field(mine, theirs[member], published)


def assert_same_field(
    mine: dict[str, Any], theirs: dict[str, Any], published: dict[str, Any]
) -> None:
    """Compare two fields; some types differ in words only."""
    for fact in ("number", "repeated", "oneof"):
        assert theirs[fact] == mine[fact]
    if mine["type"] == theirs["type"]:
        of = mine["of"]
        if of is not None and of.startswith(OURS):
            of = their_name(of, published)
        assert theirs["of"] == of
    else:
        assert (mine["type"], theirs["type"]) in SAME_ON_THE_WIRE


def test_every_part_of_the_protocol_is_compared() -> None:
    """The comparison is not empty by mistake."""
    assert {f"{OURS}{name}" for name in ("ProcessingRequest", "BodySendMode", "HeaderMap")} <= set(
        ours
    )
