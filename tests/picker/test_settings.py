"""Settings: flags over environment over file over defaults, and faults that name field and fix."""

import os
import re
from pathlib import Path

import pytest

from picker.errors import InvalidSettings
from picker.extproc.modes import BodyMode
from picker.settings import PickerSettings, PrefixSettings, Transport, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings out."""
    for name in os.environ:
        if name.startswith("MURMURATION_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a settings file goes."""
    return tmp_path / "settings.yaml"


def load(*arguments: str | Path) -> PickerSettings:
    return load_settings([str(argument) for argument in arguments], program="picker")


def problem(*arguments: str | Path) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(*arguments)
    (only,) = caught.value.problems
    return only


# Where a value comes from


def test_defaults_serve_a_pool() -> None:
    """Nothing needs to be said but the endpoints."""
    settings = load()
    assert ("default", Transport.H2, "memory", 1) == (
        settings.pool,
        settings.transport,
        settings.state,
        settings.workers,
    )
    assert settings.replica_id.endswith(str(os.getpid()))


def test_file_goes_before_defaults(file: Path) -> None:
    """YAML; names with underscores."""
    file.write_text("pool: from-file\ndrain_seconds: 5\n")
    settings = load("--settings", file)
    assert ("from-file", 5.0) == (settings.pool, settings.drain_seconds)


def test_environment_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment overrides a mounted file."""
    file.write_text("pool: from-file\nreplica_id: from-file\n")
    monkeypatch.setenv("MURMURATION_POOL", "from-environment")
    settings = load("--settings", file)
    assert ("from-environment", "from-file") == (settings.pool, settings.replica_id)


def test_flags_go_before_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person has the last word."""
    file.write_text("pool: from-file\n")
    monkeypatch.setenv("MURMURATION_POOL", "from-environment")
    assert "from-flag" == load("--settings", file, "--pool", "from-flag").pool


def test_flag_with_the_default_value_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said is said."""
    monkeypatch.setenv("MURMURATION_POOL", "from-environment")
    assert "default" == load("--pool", "default").pool


def test_environment_may_name_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers have no flags of their own."""
    file.write_text("pool: from-file\n")
    monkeypatch.setenv("MURMURATION_SETTINGS", str(file))
    assert "from-file" == load().pool


def test_groups_merge_field_by_field(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag for one field leaves the others of its group."""
    file.write_text(
        "delay: {kv_pressure_seconds: 9, decode_weight_tokens: 9, outside_request_tokens: 9}\n"
    )
    monkeypatch.setenv("MURMURATION_DELAY__DECODE_WEIGHT_TOKENS", "8")
    delay = load("--settings", file, "--delay.kv-pressure-seconds", "7").delay
    assert (7.0, 8.0, 9.0) == (
        delay.kv_pressure_seconds,
        delay.decode_weight_tokens,
        delay.outside_request_tokens,
    )


def test_body_mode_is_named_as_envoy_names_it(file: Path) -> None:
    """In the file and as a flag."""
    file.write_text("exchange: {assumed_body_mode: BUFFERED}\n")
    settings = load("--settings", file, "--exchange.max-request-body-bytes", "200")
    assert (BodyMode.BUFFERED, 200) == (
        settings.exchange.assumed_body_mode,
        settings.exchange.max_request_body_bytes,
    )
    again = load("--exchange.assumed-body-mode", "STREAMED")
    assert BodyMode.STREAMED is again.exchange.assumed_body_mode


def test_empty_file_says_nothing(file: Path) -> None:
    """All of it may be commented out."""
    file.write_text("# pool: x\n")
    assert "default" == load("--settings", file).pool


def test_instance_is_what_its_arguments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load_settings` reads the outside world."""
    monkeypatch.setenv("MURMURATION_POOL", "from-environment")
    assert "default" == PickerSettings().pool


@pytest.mark.parametrize(("text", "expected"), [("h2", Transport.H2), ("grpcio", Transport.GRPCIO)])
def test_transport_is_named_by_its_value(
    text: str, expected: Transport, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In flags, environment and file."""
    assert expected is load("--transport", text).transport
    file.write_text(f"transport: {text}\n")
    assert expected is load("--settings", file).transport
    monkeypatch.setenv("MURMURATION_TRANSPORT", text)
    assert expected is load().transport


@pytest.mark.parametrize(("flag", "expected"), [("--scrape", True), ("--no-scrape", False)])
def test_switches_need_no_value(flag: str, expected: bool) -> None:  # noqa: FBT001  a table
    """And have a way back."""
    assert expected is load(flag).scrape


def test_addresses_are_kept_in_canonical_form() -> None:
    """All interfaces are spelled out."""
    assert "0.0.0.0:9002" == load("--extproc-address", ":9002").extproc_address
    assert "[::1]:9002" == load("--extproc-address", "[::1]:9002").extproc_address


@pytest.mark.parametrize(
    "flags",
    [
        ["--pool", "p"],
        ["--extproc-address", "127.0.0.1:1"],
        ["--health-address", "127.0.0.1:2"],
        ["--admin-address", "127.0.0.1:3"],
        ["--transport", "h2"],
        ["--endpoints", "e.yaml"],
        ["--state", "memory"],
        ["--config", "c.yaml"],
        ["--scrape"],
        ["--replica-id", "r"],
        ["--workers", "1"],
        ["--replicas", "2"],
    ],
)
def test_promised_flags_are_taken(flags: list[str]) -> None:
    """Other tools rely on them."""
    name = flags[0].removeprefix("--").replace("-", "_")
    assert name in load(*flags).model_fields_set


def test_help_says_what_each_flag_does(capsys: pytest.CaptureFixture[str]) -> None:
    """The docstrings of the fields, and the values that may be written."""
    with pytest.raises(SystemExit) as caught:
        load("--help")
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert 0 == caught.value.code
    assert "Name of the pool" in said
    assert "--transport" in said


def test_prefix_settings_reach_the_parser() -> None:
    """Field by field."""
    parse = PrefixSettings(block_tokens=128, require_model=False).parse_settings()
    assert (128, False) == (parse.block_tokens, parse.require_model)


# Faults


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--replica-id", ""], "replica_id: String should have at least 1"),
        (["--health-address", "x:70000"], "health_address: 'x:70000' is no address"),
        (["--scrape-interval-seconds", "0.01"], "scrape_interval_seconds: Input should be greater"),
        (["--exchange.assumed-body-mode", "HALF"], "exchange.assumed_body_mode: Input should be"),
        (["--secure-serving", "--key-file", "k"], "cert_file, key_file: give both or none"),
        (["--pool", ""], "pool: String should have at least 1 character"),
        (["--workers", "0"], "workers: Input should be greater than or equal to 1"),
        (["--workers", "two"], "workers: Input should be a valid integer"),
        (["--transport", "quic"], "transport: Input should be 'h2' or 'grpcio'"),
        (["--log-level", "loud"], "log_level: Input should be 'debug', 'info', 'warning'"),
        (["--drain-seconds", "-1"], "drain_seconds: Input should be greater than or equal to 0"),
        (["--drain-seconds", "nan"], "drain_seconds: Input should be"),
        (
            ["--extproc-address", "9002"],
            "extproc_address: '9002' is no address: expected HOST:PORT",
        ),
        (["--admin-address", "::1:9"], "admin_address: '::1:9' is ambiguous: put the IPv6 address"),
        (["--delay.kv-pressure-from-ratio", "1"], "delay.kv_pressure_from_ratio: Input should be"),
        (
            ["--cadence.heartbeat-seconds", "1"],
            "cadence: lease_seconds: must be at least twice heartbeat_seconds",
        ),
        (["--cert-file", "c.pem", "--secure-serving"], "cert_file, key_file: give both or none"),
        (
            ["--cert-file", "c.pem", "--key-file", "k.pem"],
            "cert_file: has no effect without --secure-serving",
        ),
    ],
)
def test_bad_flag_names_field_and_fix(arguments: list[str], expected: str) -> None:
    """One sentence each."""
    assert problem(*arguments).startswith(expected)


def test_workers_share_no_memory() -> None:
    """Each would see only its own load."""
    said = problem("--workers", "2", "--state", "memory")
    assert said.startswith("workers: more than 1 needs a shared state")
    assert said.endswith("Use --workers 1")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MURMURATION_WORKERS", "many", "workers: Input should be a valid integer"),
        ("MURMURATION_SCRAPE", "perhaps", "scrape: Input should be a valid boolean"),
        ("MURMURATION_DELAY", "{", 'error parsing value for field "delay"'),
        ("MURMURATION_DELAY__NONE", "1", "delay.none: unknown setting"),
    ],
)
def test_bad_environment_names_field_and_fix(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a flag."""
    monkeypatch.setenv(name, value)
    assert problem().startswith(expected)


def test_foreign_environment_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets such names for every Service."""
    monkeypatch.setenv("MURMURATION_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MURMURATION_PORT", "tcp://10.0.0.1:9002")
    assert "default" == load().pool


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pol: x\n", "pol: unknown setting, did you mean 'pool'?"),
        ("drain-seconds: 1\n", "drain-seconds: unknown setting, did you mean 'drain_seconds'?"),
        ("zzz: 1\n", "zzz: unknown setting"),
        (
            "delay: {kv_pressure_second: 1}\n",
            "delay.kv_pressure_second: unknown setting, did you mean 'delay.kv_pressure_seconds'?",
        ),
        ("pool: 7\n", "pool: Input should be a valid string"),
        ("pool: [a]\n", "pool: Input should be a valid string"),
        ("workers: 0\n", "workers: Input should be greater than or equal to 1"),
        ("delay: 3\n", "delay: Input should be"),
    ],
)
def test_bad_file_names_field_and_fix(file: Path, text: str, expected: str) -> None:
    """Misspelt names are told their neighbour."""
    file.write_text(text)
    assert problem("--settings", file).startswith(expected)


def test_unknown_setting_without_a_neighbour_gets_no_guess(file: Path) -> None:
    """A wild one would mislead."""
    file.write_text("zzz: 1\n")
    assert "zzz: unknown setting" == problem("--settings", file)


@pytest.mark.parametrize("text", ["- a\n", "text\n", "1: 2\n", "pool: [\n", "\x00"])
def test_file_that_is_no_mapping_is_named(file: Path, text: str) -> None:
    """With its path."""
    file.write_text(text)
    said = problem("--settings", file)
    assert said.startswith("settings: ")
    assert str(file) in said


def test_missing_file_is_named(file: Path) -> None:
    """With its path."""
    assert problem("--settings", file).startswith(f"settings: cannot read {file}")


def test_file_that_is_no_text_is_named(file: Path) -> None:
    """With its path."""
    file.write_bytes(b"\xff\xfe\xff")
    assert problem("--settings", file).startswith(f"settings: cannot read {file}")


def test_all_problems_are_told_at_once() -> None:
    """Not one per attempt."""
    with pytest.raises(InvalidSettings) as caught:
        load("--workers", "0", "--transport", "quic")
    assert 2 == len(caught.value.problems)


def test_unknown_flag_ends_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """As command lines do."""
    with pytest.raises(SystemExit) as caught:
        load("--poool", "x")
    assert 2 == caught.value.code
    assert "--poool" in capsys.readouterr().err
