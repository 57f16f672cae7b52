"""Protobuf descriptors as plain data. Runs in other environments: imports protobuf only."""

import importlib
import json
import sys
from typing import Any


def describe(modules: list[str]) -> dict[str, Any]:
    """Return the messages and enums of generated modules, by full name, nested ones included."""
    found: dict[str, Any] = {}
    for module in modules:
        descriptor = importlib.import_module(module).DESCRIPTOR
        for enum in descriptor.enum_types_by_name.values():
            _add_enum(enum, found)
        for message in descriptor.message_types_by_name.values():
            _add_message(message, found)
    return found


def _add_message(message: Any, found: dict[str, Any]) -> None:
    found[message.full_name] = {field.name: _field(field) for field in message.fields}
    for enum in message.enum_types:
        _add_enum(enum, found)
    for nested in message.nested_types:
        _add_message(nested, found)


def _add_enum(enum: Any, found: dict[str, Any]) -> None:
    found[enum.full_name] = {value.name: value.number for value in enum.values}


def _field(field: Any) -> dict[str, Any]:
    oneof = field.containing_oneof
    kind = field.message_type or field.enum_type
    return {
        "number": field.number,
        "type": field.type,
        "repeated": field.is_repeated,
        "oneof": None if oneof is None else oneof.name,
        "of": None if kind is None else kind.full_name,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(sys.argv[1:])))
