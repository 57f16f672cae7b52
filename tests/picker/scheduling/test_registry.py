"""Plugin types by name, and their parameters read strictly."""

from typing import Any

import msgspec
import pytest

from picker.scheduling.errors import InvalidConfig
from picker.scheduling.framework import Picker, PluginContext
from picker.scheduling.registry import Parameters, PluginType, Registry
from tests.support import builders
from tests.support.plugins import Best


class SizedParameters(Parameters, frozen=True):
    """Parameters of the `sized` plugin."""

    max_size: int = 3
    inner: dict[str, int] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse nothing at all."""
        if self.max_size < 1:
            raise ValueError("maxSize must be at least 1")


class Sized(Best):
    """A picker that keeps its parameters."""

    def __init__(self, parameters: SizedParameters, context: PluginContext) -> None:
        super().__init__()
        self.parameters = parameters
        self.context = context


REGISTRY = Registry(
    [PluginType(name="sized", role=Picker, parameters=SizedParameters, build=Sized)]
)
CONTEXT = builders.context()


def build(parameters: dict[str, Any], name: str = "sized") -> Sized:
    plugin = REGISTRY.build(name, parameters, CONTEXT, path="$.plugins[0]")
    assert isinstance(plugin, Sized)
    return plugin


def test_parameters_are_camel_case_in_the_file() -> None:
    """The field's spelling."""
    assert 7 == build({"maxSize": 7}).parameters.max_size


def test_parameters_left_out_have_their_defaults() -> None:
    """In the plugin and in the effective config."""
    assert 3 == build({}).parameters.max_size
    effective = REGISTRY.effective_parameters("sized", {}, path="$")
    assert {"maxSize": 3, "inner": {}} == effective


def test_plugin_gets_the_shared_context() -> None:
    """Random numbers and the delay estimate."""
    assert CONTEXT is build({}).context


@pytest.mark.parametrize(
    ("parameters", "path", "reason"),
    [
        ({"maxSize": "7"}, "$.plugins[0].parameters.maxSize", "Expected `int`, got `str`"),
        ({"maxSise": 7}, "$.plugins[0].parameters", "unknown field `maxSise`"),
        ({"max_size": 7}, "$.plugins[0].parameters", "unknown field `max_size`"),
        ({"inner": {"a": "b"}}, "$.plugins[0].parameters.inner[...]", "Expected `int`"),
        ({"maxSize": 0}, "$.plugins[0].parameters", "maxSize must be at least 1"),
    ],
)
def test_bad_parameter_is_named_with_its_path(
    parameters: dict[str, Any], path: str, reason: str
) -> None:
    """Type, name, range."""
    with pytest.raises(InvalidConfig, match=reason) as caught:
        build(parameters)
    assert path == caught.value.path


def test_unknown_type_is_told_its_nearest_neighbour() -> None:
    """Most are typing errors."""
    with pytest.raises(InvalidConfig, match="unknown plugin type 'sizd', did you mean 'sized'"):
        build({}, name="sizd")


def test_unknown_type_without_a_neighbour_is_just_unknown() -> None:
    """No guess is better than a wild one."""
    with pytest.raises(InvalidConfig, match=r"unknown plugin type 'latency'$"):
        build({}, name="latency")


def test_role_is_the_protocol_of_a_type() -> None:
    """None for what is not there."""
    assert Picker is REGISTRY.role("sized")
    assert None is REGISTRY.role("other")


def test_registry_lists_its_types() -> None:
    """For documentation."""
    assert ["sized"] == [kind.name for kind in REGISTRY]
