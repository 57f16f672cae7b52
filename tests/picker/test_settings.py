"""Settings: flags over environment over file over defaults, and what is wrong with them."""

from pathlib import Path

import pytest

from picker.errors import InvalidSettings
from picker.extproc.modes import BodyMode
from picker.settings import PickerSettings, Transport, load_settings


def load(*flags: str) -> PickerSettings:
    """Read settings as a command does."""
    return load_settings(flags, program="picker serve")


def problem(*flags: str) -> str:
    """Return what is said of bad settings."""
    with pytest.raises(InvalidSettings) as caught:
        load(*flags)
    return str(caught.value)


def test_flags_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source fills in what the ones above it leave open, inside groups too."""
    path = tmp_path / "settings.yaml"
    path.write_text(
        "pool: from-file\nreplica_id: from-file\ndrain_seconds: 7\n"
        "exchange: {max_request_body_bytes: 100, assumed_body_mode: BUFFERED}\n"
    )
    monkeypatch.setenv("MURMURATION_SETTINGS", str(path))
    monkeypatch.setenv("MURMURATION_REPLICA_ID", "from-environment")
    monkeypatch.setenv("MURMURATION_POOL", "from-environment")
    monkeypatch.setenv("MURMURATION_EXCHANGE__MAX_REQUEST_BODY_BYTES", "200")
    settings = load("--pool", "from-flag")
    assert ("from-flag", "from-environment") == (settings.pool, settings.replica_id)
    assert (7.0, 3.0) == (settings.drain_seconds, settings.linger_seconds)
    assert 200 == settings.exchange.max_request_body_bytes
    assert BodyMode.BUFFERED is settings.exchange.assumed_body_mode


@pytest.mark.parametrize("name", ["h2", "grpcio"])
def test_transports_have_the_names_of_the_documentation(name: str) -> None:
    """As values, in lower case."""
    assert Transport(name) is load("--transport", name).transport


@pytest.mark.parametrize(
    ("written", "read"),
    [("127.0.0.1:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2"), (":3", "0.0.0.0:3")],
)
def test_addresses(written: str, read: str) -> None:
    """IPv6 in brackets; no host means all interfaces."""
    assert read == load("--extproc-address", written).extproc_address


BAD = {
    "extproc_address: '9002' is no address": ("--extproc-address", "9002"),
    "extproc_address: '::1:9002' is ambiguous": ("--extproc-address", "::1:9002"),
    "health_address: 'x:70000' is no address": ("--health-address", "x:70000"),
    "transport: Input should be 'h2' or 'grpcio'": ("--transport", "http3"),
    "drain_seconds: Input should be greater": ("--drain-seconds", "-1"),
    "scrape_interval_seconds: Input should be greater": ("--scrape-interval-seconds", "0.01"),
    "workers: more than 1 needs a shared state": ("--workers", "2"),
    "cert_file, key_file: give both or none": ("--secure-serving", "--key-file", "k"),
    "cert_file: has no effect": ("--cert-file", "c", "--key-file", "k"),
    "replica_id: String should have at least 1": ("--replica-id", ""),
    "settings: cannot read /nowhere": ("--settings", "/nowhere"),
    "exchange.assumed_body_mode: Input should be": ("--exchange.assumed-body-mode", "HALF"),
}


@pytest.mark.parametrize("expected", BAD)
def test_a_bad_value_names_its_field(expected: str) -> None:
    """And what it should be."""
    assert expected in problem(*BAD[expected])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drain_second: 3", "drain_second: unknown setting, did you mean 'drain_seconds'?"),
        ("[1, 2]", "holds no mapping"),
        ("pool: [", "cannot read"),
        ("exchange: {limit: 3}", "exchange.limit: unknown setting"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """With the field, or with what the file is."""
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    assert expected in problem("--settings", str(path))


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    """Defaults apply."""
    path = tmp_path / "settings.yaml"
    path.write_text("")
    assert "default" == load("--settings", str(path)).pool


def test_instances_hear_nothing_from_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load_settings` reads the environment."""
    monkeypatch.setenv("MURMURATION_POOL", "elsewhere")
    assert "default" == PickerSettings().pool
