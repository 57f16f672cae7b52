"""Plugin types by the names that configurations use."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from picker.scheduling.errors import InvalidConfig
from picker.scheduling.framework import Plugin, PluginContext


class Parameters(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Base of a plugin's parameters: `maxScore` in the file is `max_score` in Python."""


class PluginType(msgspec.Struct, frozen=True, kw_only=True):
    """How a plugin is made."""

    name: str
    role: type
    """Filter, Scorer, Picker or ProfileHandler."""
    parameters: type[Parameters]
    build: Callable[[Any, PluginContext], Plugin]
    """From an instance of `parameters` to the plugin."""


class Registry:
    """The plugin types that a configuration may name."""

    def __init__(self, types: Iterable[PluginType]) -> None:
        self._types = {each.name: each for each in types}

    def __iter__(self) -> Iterator[PluginType]:
        return iter(self._types.values())

    def build(
        self, name: str, parameters: Mapping[str, Any], context: PluginContext, *, path: str
    ) -> Plugin:
        """Make a plugin; raises InvalidConfig with the field's path."""
        return self._type(name, path).build(self._parameters(name, parameters, path), context)

    def role(self, name: str) -> type | None:
        """Return which protocol plugins of this type fit; None if there is no such type."""
        kind = self._types.get(name)
        return None if kind is None else kind.role

    def effective_parameters(
        self, name: str, parameters: Mapping[str, Any], *, path: str
    ) -> dict[str, Any]:
        """Return the parameters with their defaults; raises InvalidConfig."""
        effective: dict[str, Any] = msgspec.to_builtins(self._parameters(name, parameters, path))
        return effective

    def _type(self, name: str, path: str) -> PluginType:
        kind = self._types.get(name)
        if kind is None:
            raise InvalidConfig(f"{path}.type", f"unknown plugin type {name!r}{self._hint(name)}")
        return kind

    def _parameters(self, name: str, parameters: Mapping[str, Any], path: str) -> Parameters:
        kind = self._type(name, path)
        try:
            return msgspec.convert(parameters, kind.parameters)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `$")
            raise InvalidConfig(f"{path}.parameters{where.rstrip('`')}", reason) from error

    def _hint(self, name: str) -> str:
        close = get_close_matches(name, self._types, n=1)
        return f", did you mean {close[0]!r}?" if close else ""
