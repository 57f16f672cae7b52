"""EndpointPickerConfig: the field's file format for plugins and profiles, read strictly."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from picker.scheduling.errors import InvalidConfig
from picker.scheduling.framework import (
    Filter,
    Picker,
    Plugin,
    PluginContext,
    ProfileHandler,
    Scorer,
)
from picker.scheduling.profile import Profile
from picker.scheduling.registry import Registry
from picker.scheduling.scheduler import Scheduler

API_VERSIONS = ("llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1")
KIND = "EndpointPickerConfig"
LATER = (
    "featureGates",
    "dataLayer",
    "flowControl",
    "requestHandler",
    "saturationDetector",
    "parser",
)
"""Fields of the schema that this version does not act on: refused rather than ignored."""

DEFAULT_CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: single-profile-handler
  - type: prefix-affinity-filter
  - type: expected-delay-picker
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: prefix-affinity-filter
      - pluginRef: expected-delay-picker
"""


class PluginSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `plugins`."""

    type: str
    name: str = ""
    parameters: dict[str, Any] = {}

    @property
    def reference(self) -> str:
        """The name that profiles use: the type's, if it was given no other."""
        return self.name or self.type


class PluginUse(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """An entry of a profile's `plugins`."""

    plugin_ref: str
    weight: float | None = None


class ProfileSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `schedulingProfiles`."""

    name: str
    plugins: list[PluginUse] = []


class EndpointPickerConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """The document."""

    api_version: str
    kind: str
    plugins: list[PluginSpec] = []
    scheduling_profiles: list[ProfileSpec] = []
    metadata: dict[str, Any] = {}


def load_config(text: str) -> EndpointPickerConfig:
    """Read a document in YAML or JSON; raises InvalidConfig with the path of the field."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfig("$", f"neither YAML nor JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidConfig("$", f"expected a mapping, got {type(document).__name__}")
    for key in document:
        if not isinstance(key, str):
            raise InvalidConfig("$", f"keys must be text, not {key!r}")
    for field in LATER:
        if document.get(field):
            raise InvalidConfig(f"$.{field}", "this version does not support it; leave it out")
    read = {key: value for key, value in document.items() if key not in LATER}
    try:
        config = msgspec.convert(read, EndpointPickerConfig)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `")
        raise InvalidConfig(where.rstrip("`") or "$", reason) from error
    _check_header(config)
    return config


def _check_header(config: EndpointPickerConfig) -> None:
    if config.api_version not in API_VERSIONS:
        expected = " or ".join(API_VERSIONS)
        raise InvalidConfig("$.apiVersion", f"{config.api_version!r} is not {expected}")
    if config.kind != KIND:
        raise InvalidConfig("$.kind", f"{config.kind!r} is not {KIND!r}")


def effective_config(config: EndpointPickerConfig, registry: Registry) -> dict[str, Any]:
    """Return the document with everything spelled out that it leaves to defaults."""
    config = _complete(config, registry)
    return {
        "apiVersion": config.api_version,
        "kind": config.kind,
        "plugins": [
            {
                "name": spec.reference,
                "type": spec.type,
                "parameters": registry.effective_parameters(
                    spec.type, spec.parameters, path=f"$.plugins[{i}]"
                ),
            }
            for i, spec in enumerate(config.plugins)
        ],
        "schedulingProfiles": [
            {
                "name": profile.name,
                "plugins": [
                    {"pluginRef": use.plugin_ref}
                    | ({} if use.weight is None else {"weight": use.weight})
                    for use in profile.plugins
                ],
            }
            for profile in config.scheduling_profiles
        ],
    }


def build_scheduler(
    config: EndpointPickerConfig, registry: Registry, context: PluginContext
) -> Scheduler:
    """Make the scheduler that a document describes; raises InvalidConfig."""
    config = _complete(config, registry)
    plugins: dict[str, Plugin] = {}
    for i, spec in enumerate(config.plugins):
        path = f"$.plugins[{i}]"
        if spec.reference in plugins:
            raise InvalidConfig(f"{path}.name", f"duplicate plugin name {spec.reference!r}")
        plugins[spec.reference] = registry.build(spec.type, spec.parameters, context, path=path)
    profiles = _profiles(config.scheduling_profiles, plugins)
    return Scheduler(_handler(plugins, profiles), profiles)


def _complete(config: EndpointPickerConfig, registry: Registry) -> EndpointPickerConfig:
    """Fill in what the field's rules leave out: handler, profile `default`, a picker each."""
    plugins = list(config.plugins)
    kinds = {spec.reference: registry.role(spec.type) for spec in plugins}
    profiles = list(config.scheduling_profiles)
    if not profiles:
        uses = [
            PluginUse(plugin_ref=ref) for ref, role in kinds.items() if role is not ProfileHandler
        ]
        profiles = [ProfileSpec(name="default", plugins=uses)]
    if ProfileHandler not in kinds.values():
        plugins.append(PluginSpec(type="single-profile-handler"))
    complete = []
    for profile in profiles:
        uses = [
            msgspec.structs.replace(use, weight=1.0)
            if use.weight is None and kinds.get(use.plugin_ref) is Scorer
            else use
            for use in profile.plugins
        ]
        if not any(kinds.get(use.plugin_ref) is Picker for use in uses):
            if not any(spec.reference == "max-score-picker" for spec in plugins):
                plugins.append(PluginSpec(type="max-score-picker"))
            uses.append(PluginUse(plugin_ref="max-score-picker"))
        complete.append(msgspec.structs.replace(profile, plugins=uses))
    return msgspec.structs.replace(config, plugins=plugins, scheduling_profiles=complete)


def _profiles(specs: Sequence[ProfileSpec], plugins: Mapping[str, Plugin]) -> list[Profile]:
    profiles: dict[str, Profile] = {}
    for i, spec in enumerate(specs):
        path = f"$.schedulingProfiles[{i}]"
        if spec.name in profiles:
            raise InvalidConfig(f"{path}.name", f"duplicate profile {spec.name!r}")
        profiles[spec.name] = _profile(spec, plugins, path)
    return list(profiles.values())


def _profile(spec: ProfileSpec, plugins: Mapping[str, Plugin], path: str) -> Profile:
    filters: list[tuple[str, Filter]] = []
    scorers: list[tuple[Scorer, float]] = []
    pickers: list[Picker] = []
    for i, use in enumerate(spec.plugins):
        where = f"{path}.plugins[{i}]"
        plugin = plugins.get(use.plugin_ref)
        if plugin is None:
            raise InvalidConfig(f"{where}.pluginRef", f"no plugin is named {use.plugin_ref!r}")
        _check_use(use, plugin, where)
        if isinstance(plugin, Filter):
            filters.append((use.plugin_ref, plugin))
        if isinstance(plugin, Scorer):
            scorers.append((plugin, 1.0 if use.weight is None else use.weight))
        if isinstance(plugin, Picker):
            pickers.append(plugin)
    if len(pickers) != 1:
        raise InvalidConfig(f"{path}.plugins", f"{len(pickers)} pickers, expected one")
    return Profile(spec.name, filters=filters, scorers=scorers, picker=pickers[0])


def _check_use(use: PluginUse, plugin: Plugin, path: str) -> None:
    if not isinstance(plugin, (Filter, Scorer, Picker)):
        reason = f"{use.plugin_ref!r} is neither filter, scorer nor picker"
        raise InvalidConfig(f"{path}.pluginRef", reason)
    if use.weight is None:
        return
    if not isinstance(plugin, Scorer):
        raise InvalidConfig(f"{path}.weight", f"{use.plugin_ref!r} is no scorer")
    if not 0 <= use.weight < math.inf:
        raise InvalidConfig(f"{path}.weight", f"{use.weight} is not a number from 0")


def _handler(plugins: Mapping[str, Plugin], profiles: Sequence[Profile]) -> ProfileHandler:
    handlers = [plugin for plugin in plugins.values() if isinstance(plugin, ProfileHandler)]
    if len(handlers) != 1:
        raise InvalidConfig("$.plugins", f"{len(handlers)} profile handlers, expected one")
    if len(profiles) > 1:
        raise InvalidConfig(
            "$.schedulingProfiles", f"single-profile-handler takes one, got {len(profiles)}"
        )
    return handlers[0]
