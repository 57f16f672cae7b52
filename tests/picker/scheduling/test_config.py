"""EndpointPickerConfig: what is read, what is filled in, and how faults are named."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from picker.plugins.catalogue import built_in
from picker.scheduling.config import (
    API_VERSIONS,
    DEFAULT_CONFIG,
    LATER,
    build_scheduler,
    effective_config,
    load_config,
)
from picker.scheduling.errors import InvalidConfig
from picker.scheduling.scheduler import Scheduler
from tests.support import builders

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def build(text: str) -> Scheduler:
    return build_scheduler(load_config(text), built_in(), builders.context())


def effective(text: str) -> dict[str, Any]:
    return effective_config(load_config(text), built_in())


def document(**fields: object) -> str:
    """Return a document in JSON, which is YAML."""
    head: dict[str, object] = {"apiVersion": API_VERSIONS[0], "kind": "EndpointPickerConfig"}
    return json.dumps(head | fields)


def profile(*uses: dict[str, Any], name: str = "default") -> dict[str, Any]:
    return {"name": name, "plugins": list(uses)}


def pick(scheduler: Scheduler, count: int = 3) -> tuple[str, str]:
    """Return profile and reason of a decision over that many endpoints."""
    pool = builders.view(count)
    placements = scheduler.schedule(builders.request(), pool, builders.everybody(pool))
    ((name, placement),) = placements.items()
    return name, placement.pick.reason


# Good documents


@pytest.mark.parametrize("version", API_VERSIONS)
def test_both_api_versions_are_read(version: str) -> None:
    """The field's, and the one before it moved."""
    assert ("default", "least-delay") == pick(
        build(
            document(
                apiVersion=version,
                plugins=[{"type": "expected-delay-picker"}],
            )
        )
    )


def test_default_config_is_valid_and_complete() -> None:
    """What is shipped needs nothing filled in."""
    loaded = load_config(DEFAULT_CONFIG)
    shown = effective(DEFAULT_CONFIG)
    assert [spec.reference for spec in loaded.plugins] == [p["name"] for p in shown["plugins"]]
    assert ("default", "least-delay") == pick(build(DEFAULT_CONFIG))


def test_no_profiles_is_one_of_all_plugins() -> None:
    """Named `default`."""
    plugins = [{"type": "queue-scorer"}, {"type": "random-picker"}]
    assert [
        {
            "name": "default",
            "plugins": [
                {"pluginRef": "queue-scorer", "weight": 1.0},
                {"pluginRef": "random-picker"},
            ],
        }
    ] == effective(document(plugins=plugins))["schedulingProfiles"]
    assert ("default", "random") == pick(build(document(plugins=plugins)))


def test_empty_document_picks_by_highest_score() -> None:
    """All scores are equal, so at random."""
    assert ("default", "max-score") == pick(build(HEAD))


def test_profile_without_a_picker_gets_max_score_picker() -> None:
    """Also if the plugin is declared, but in no profile."""
    for plugins in (
        [{"type": "queue-scorer"}],
        [{"type": "queue-scorer"}, {"type": "max-score-picker"}],
    ):
        text = document(
            plugins=plugins, schedulingProfiles=[profile({"pluginRef": "queue-scorer"}, name="p")]
        )
        assert ("p", "max-score") == pick(build(text))
        names = [plugin["name"] for plugin in effective(text)["plugins"]]
        assert 1 == names.count("max-score-picker")


def test_handler_is_filled_in() -> None:
    """One profile needs no words about it."""
    assert "single-profile-handler" in [p["type"] for p in effective(HEAD)["plugins"]]


def test_plugins_are_used_by_the_names_they_are_given() -> None:
    """Two of one type, with parameters of their own."""
    text = document(
        plugins=[
            {"type": "expected-delay-scorer", "name": "fine", "parameters": {"floorSeconds": 0.5}},
            {"type": "expected-delay-scorer"},
        ],
        schedulingProfiles=[
            profile({"pluginRef": "fine", "weight": 2}, {"pluginRef": "expected-delay-scorer"})
        ],
    )
    shown = effective(text)
    assert [{"floorSeconds": 0.5}, {"floorSeconds": 0.01}] == [
        plugin["parameters"] for plugin in shown["plugins"][:2]
    ]
    assert [2.0, 1.0] == [
        use.get("weight") for use in shown["schedulingProfiles"][0]["plugins"][:2]
    ]
    build(text)


def test_metadata_is_allowed() -> None:
    """Tools add it to every document."""
    build(document(metadata={"name": "config", "labels": {"a": "b"}}))


@pytest.mark.parametrize("field", LATER)
def test_empty_section_of_later_versions_is_allowed(field: str) -> None:
    """It asks for nothing."""
    values: list[object] = [{}, [], None]
    for value in values:
        build(document(**{field: value}))


@pytest.mark.parametrize(
    "text",
    [
        DEFAULT_CONFIG,
        HEAD,
        document(
            plugins=[{"type": "queue-scorer", "name": "q"}, {"type": "kv-cache-utilization-scorer"}]
        ),
        document(
            plugins=[{"type": "queue-scorer"}, {"type": "expected-delay-picker", "name": "e"}],
            schedulingProfiles=[
                profile({"pluginRef": "queue-scorer", "weight": 0.25}, {"pluginRef": "e"})
            ],
        ),
    ],
)
def test_effective_config_reads_back_as_itself(text: str) -> None:
    """As YAML and as JSON, and it builds."""
    shown = effective(text)
    for written in (yaml.safe_dump(shown), json.dumps(shown)):
        assert shown == effective(written)
        build(written)


# Bad documents

SCORER, PICKER = {"type": "queue-scorer"}, {"type": "random-picker"}


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("plugins: [", "$", "neither YAML nor JSON"),
        ("a: \x00", "$", "neither YAML nor JSON"),
        ("", "$", "expected a mapping, got NoneType"),
        ("- a", "$", "expected a mapping, got list"),
        (HEAD + "1: 2", "$", "keys must be text, not 1"),
        (HEAD + "plugin: []", "$", "unknown field `plugin`"),
        ("kind: EndpointPickerConfig", "$", "missing required field `apiVersion`"),
        (document(apiVersion="v1"), "$.apiVersion", "'v1' is not llm-d.ai/v1alpha1 or"),
        (document(kind="InferencePool"), "$.kind", "'InferencePool' is not"),
        (document(plugins={}), "$.plugins", "Expected `array`, got `object`"),
        (document(plugins=[{"name": "a"}]), "$.plugins[0]", "missing required field `type`"),
        (document(plugins=[SCORER, {"type": 3}]), "$.plugins[1].type", "Expected `str`"),
        (document(plugins=[{"type": "a", "params": {}}]), "$.plugins[0]", "unknown field `params`"),
        (
            document(plugins=[{"type": "queue-scorers"}]),
            "$.plugins[0].type",
            "unknown plugin type 'queue-scorers', did you mean 'queue-scorer'",
        ),
        (
            document(plugins=[{"type": "queue-scorer", "parameters": {"x": 1}}]),
            "$.plugins[0].parameters",
            "unknown field `x`",
        ),
        (
            document(
                plugins=[{"type": "max-score-picker", "parameters": {"maxNumOfEndpoints": 0}}]
            ),
            "$.plugins[0].parameters",
            "must be at least 1",
        ),
        (
            document(plugins=[SCORER, SCORER]),
            "$.plugins[1].name",
            "duplicate plugin name 'queue-scorer'",
        ),
        (
            document(plugins=[SCORER, {"type": "random-picker", "name": "queue-scorer"}]),
            "$.plugins[1].name",
            "duplicate plugin name",
        ),
        (
            document(schedulingProfiles=[profile({"pluginRef": "nobody"})]),
            "$.schedulingProfiles[0].plugins[0].pluginRef",
            "no plugin is named 'nobody'",
        ),
        (
            document(plugins=[SCORER], schedulingProfiles=[profile({"pluginref": "queue-scorer"})]),
            "$.schedulingProfiles[0].plugins[0]",
            "unknown field `pluginref`",
        ),
        (
            document(
                plugins=[PICKER, {"type": "max-score-picker"}],
                schedulingProfiles=[
                    profile({"pluginRef": "random-picker"}, {"pluginRef": "max-score-picker"})
                ],
            ),
            "$.schedulingProfiles[0].plugins",
            "2 pickers, expected one",
        ),
        (
            document(
                plugins=[PICKER],
                schedulingProfiles=[profile({"pluginRef": "random-picker", "weight": 1})],
            ),
            "$.schedulingProfiles[0].plugins[0].weight",
            "'random-picker' is no scorer",
        ),
        (
            document(
                plugins=[{"type": "single-profile-handler"}],
                schedulingProfiles=[profile({"pluginRef": "single-profile-handler"})],
            ),
            "$.schedulingProfiles[0].plugins[0].pluginRef",
            "'single-profile-handler' is neither filter, scorer nor picker",
        ),
        (
            document(schedulingProfiles=[profile(), profile()]),
            "$.schedulingProfiles[1].name",
            "duplicate profile 'default'",
        ),
        (
            document(schedulingProfiles=[profile(), profile(name="other")]),
            "$.schedulingProfiles",
            "single-profile-handler takes one, got 2",
        ),
        (
            document(
                plugins=[
                    {"type": "single-profile-handler"},
                    {"type": "single-profile-handler", "name": "b"},
                ]
            ),
            "$.plugins",
            "2 profile handlers, expected one",
        ),
        *(
            (document(**{field: {"a": "b"}}), f"$.{field}", "does not support it")
            for field in LATER
        ),
    ],
)
def test_bad_document_names_field_and_fault(text: str, path: str, reason: str) -> None:
    """The path is that of the document, so that it can be found in there."""
    with pytest.raises(InvalidConfig) as caught:
        build(text)
    assert path == caught.value.path
    assert reason in caught.value.reason


@pytest.mark.parametrize("weight", ["-1", ".nan", ".inf", "-.inf"])
def test_weight_must_be_a_number_from_zero(weight: str) -> None:
    """Anything else turns scores upside down, or into nothing."""
    text = (
        f"{HEAD}plugins: [{{type: queue-scorer}}]\nschedulingProfiles:\n"
        f"- {{name: p, plugins: [{{pluginRef: queue-scorer, weight: {weight}}}]}}"
    )
    with pytest.raises(InvalidConfig, match=r"weight: .* is not a number from 0") as caught:
        build(text)
    assert "$.schedulingProfiles[0].plugins[0].weight" == caught.value.path


@pytest.mark.parametrize(
    ("plugin", "parameter"),
    [
        (plugin, parameter)
        for plugin, parameters in {
            "prefix-affinity-filter": ["bound"],
            "expected-delay-picker": ["staleSeconds", "scoreSeconds"],
            "expected-delay-scorer": ["floorSeconds"],
        }.items()
        for parameter in parameters
    ],
)
@pytest.mark.parametrize("value", [".nan", ".inf", "-1.0"])
def test_parameter_that_is_no_sane_number_is_refused(
    plugin: str, parameter: str, value: str
) -> None:
    """Comparisons with NaN are false, which switches things off silently."""
    text = f"{HEAD}plugins: [{{type: {plugin}, parameters: {{{parameter}: {value}}}}}]"
    with pytest.raises(InvalidConfig, match=parameter) as caught:
        build(text)
    assert "$.plugins[0].parameters" == caught.value.path


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "plugins", "pluginRef", "weight", "parameters", "x"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(plugins=JSON_VALUES, profiles=JSON_VALUES)
def test_any_document_is_built_or_refused(plugins: Any, profiles: Any) -> None:
    """Nothing else comes out."""
    text = yaml.safe_dump(
        {
            "apiVersion": API_VERSIONS[0],
            "kind": "EndpointPickerConfig",
            "plugins": plugins,
            "schedulingProfiles": profiles,
        }
    )
    try:
        build(text)
    except InvalidConfig as error:
        assert error.path.startswith("$")  # noqa: PT017  either outcome is right
