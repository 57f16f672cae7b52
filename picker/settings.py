"""Settings of a picker: flags over environment over settings file over defaults."""

import os
import socket
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from picker.errors import InvalidSettings
from picker.extproc.exchange import ExchangeSettings
from picker.requests.model import ParseSettings
from picker.scheduling.delay import DelaySettings
from state.runtime.address import AddressText
from state.settings import StateSettings

ENV_PREFIX = "MURMURATION_"
Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class Transport(Enum):
    """Which server carries ext_proc."""

    H2 = "h2"
    GRPCIO = "grpcio"


class PrefixSettings(BaseModel):
    """How prompts become prefix hashes; the same in all replicas of a pool."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    block_tokens: int = Field(default=64, ge=16, le=4096)
    """Tokens of the smallest block."""
    max_prefix_blocks: int = Field(default=2048, ge=1, le=65536)
    """Longest prefix that is hashed, in smallest blocks."""
    require_model: bool = True
    """Answer 400 when neither the body nor a rewrite names a model."""

    def parse_settings(self) -> ParseSettings:
        """Return what the parser takes."""
        return ParseSettings(**self.model_dump())


class PickerSettings(BaseSettings):
    """Everything that `python -m picker serve` and `standalone` take."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    settings: Path | None = None
    """YAML file with these settings; keys are the flags' names with underscores."""
    pool: Name = "default"
    """Name of the pool: what keeps the state of several pools apart."""
    replica_id: Name = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """Name of this replica, unique in the pool; default: host name and process id."""
    replicas: int = Field(default=2, ge=1, le=64)
    """Replicas in one process (standalone only); replica i adds 10 * i to each port."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes on one ext_proc port, each a replica; worker i adds 10 * i to the health and admin
    ports. Refused with --state memory, whose view they could not share."""
    shared_port: bool = False
    """Let other processes listen on the ext_proc port as well; set for workers."""
    extproc_address: AddressText = "0.0.0.0:9002"
    """Where ext_proc is served."""
    health_address: AddressText = "0.0.0.0:9003"
    """Where the gRPC health service is served."""
    admin_address: AddressText = "127.0.0.1:9090"
    """Where /metrics, /healthz, /readyz and /debug are served. /debug tells much: loopback."""
    transport: Transport = Transport.H2
    """Server of the ext_proc port: h2 (libnghttp2) costs a fraction of grpcio's CPU."""
    endpoints: Path | None = None
    """File that lists the model servers; watched for changes. Required."""
    state: str = "memory"
    """Shared state: `memory` (this process only), `redis://[user:password@]host:port[/db]`, or
    `rediss://…` for TLS. All replicas of a pool name the same one."""
    config: Path | None = None
    """EndpointPickerConfig with plugins and profiles; default: the built-in profile."""
    scrape: bool = False
    """Embed a collector that scrapes the model servers."""
    scrape_interval_seconds: float = Field(default=0.2, ge=0.05, le=60.0)
    """Least time between two scrapes of an endpoint by the embedded collector."""
    linger_seconds: float = Field(default=3.0, ge=0.0, le=600.0)
    """After SIGTERM: time to accept streams on, while gateways notice that we are not ready."""
    drain_seconds: float = Field(default=30.0, ge=0.0, le=3600.0)
    """After that: longest time for open streams to finish."""
    max_streams_per_connection: int = Field(default=16_384, ge=1)
    """Concurrent streams of one gateway connection; one stream is one request."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, JSON elsewhere."""
    secure_serving: bool = False
    """Serve ext_proc over TLS; without a certificate a self-signed one is made at start."""
    cert_file: Path | None = None
    """Certificate chain in PEM."""
    key_file: Path | None = None
    """Private key in PEM."""
    exchange: ExchangeSettings = ExchangeSettings()
    prefix: PrefixSettings = PrefixSettings()
    delay: DelaySettings = DelaySettings()
    cadence: StateSettings = StateSettings()

    @model_validator(mode="after")
    def _workers_share_no_memory(self) -> Self:
        if self.workers > 1 and self.state == "memory":
            raise ValueError(
                "workers: more than 1 needs a shared state; with --state memory each would see"
                " only its own load. Use --workers 1"
            )
        return self

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file, key_file: give both or none")
        if self.cert_file is not None and not self.secure_serving:
            raise ValueError("cert_file: has no effect without --secure-serving")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the library's shape
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """An instance is what its arguments say; `load_settings` reads the outside world."""
        return (init_settings,)


def load_settings(arguments: Sequence[str], *, program: str) -> PickerSettings:
    """Read flags, environment and settings file; raises InvalidSettings, SystemExit on --help."""
    command_line: CliSettingsSource[Any] = CliSettingsSource(
        PickerSettings, cli_parse_args=list(arguments), cli_prog_name=program
    )
    try:
        flags: dict[str, Any] = dict(command_line())
        environment: dict[str, Any] = dict(EnvSettingsSource(PickerSettings)())
        path: str | None = flags.get("settings") or environment.get("settings")
        return PickerSettings(**_merge(_merge(_read_file(path), environment), flags))
    except SettingsError as error:
        raise InvalidSettings([str(error)]) from error
    except ValidationError as error:
        raise InvalidSettings([_describe(each) for each in error.errors()]) from error


def _read_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSettings([f"settings: cannot read {path}: {error}"]) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidSettings([f"settings: {path} holds no mapping of names to values"])
    return content


def _merge(below: Mapping[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _describe(error: ErrorDetails) -> str:
    """Return `field: what is wrong`; an unknown field is told its nearest neighbour."""
    path = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        close = get_close_matches(path, _paths(PickerSettings), n=1)
        message = "unknown setting" + (f", did you mean {close[0]!r}?" if close else "")
    return f"{path}: {message}" if path else message


def _paths(model: type[BaseModel]) -> list[str]:
    """Return the names of all settings, those of groups with the group's in front."""
    paths = []
    for name, field in model.model_fields.items():
        paths.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths += [f"{name}.{inner}" for inner in _paths(field.annotation)]
    return paths
