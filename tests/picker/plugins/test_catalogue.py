"""The built-in plugin types: each fits its role and stands in a module of that kind."""

import pkgutil
from importlib import import_module

import pytest

import picker.plugins
from picker.plugins.catalogue import built_in
from picker.scheduling.framework import Filter, Picker, ProfileHandler, Scorer
from picker.scheduling.registry import PluginType
from tests.support import builders

FOLDERS = {"filters": Filter, "pickers": Picker, "profiles": ProfileHandler, "scorers": Scorer}


def modules() -> list[tuple[str, PluginType]]:
    """Return the folder and the type of every plugin module."""
    found = []
    for folder in FOLDERS:
        package = import_module(f"picker.plugins.{folder}")
        for module in pkgutil.iter_modules(package.__path__):
            kind = import_module(f"picker.plugins.{folder}.{module.name}").TYPE
            found.append((folder, kind))
    return found


def test_every_module_is_in_the_catalogue() -> None:
    """A plugin that nobody can name is no plugin."""
    names = sorted(kind.name for _, kind in modules())
    assert names == sorted(kind.name for kind in built_in())
    assert set(FOLDERS) == {
        module.name for module in pkgutil.iter_modules(picker.plugins.__path__) if module.ispkg
    }


@pytest.mark.parametrize(
    ("folder", "kind"), modules(), ids=lambda value: getattr(value, "name", value)
)
def test_plugin_fits_the_role_of_its_folder(folder: str, kind: PluginType) -> None:
    """With its default parameters."""
    plugin = built_in().build(kind.name, {}, builders.context(), path="$")
    assert FOLDERS[folder] is kind.role
    assert isinstance(plugin, kind.role)
