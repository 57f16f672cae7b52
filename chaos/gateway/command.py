"""`python -m chaos envoy-config`: Envoy's configuration for a set of pickers and endpoints."""

from typing import Annotated

import typer
import yaml

from chaos.gateway.config import GatewayMode, GatewaySpec, HostPort, bootstrap

HEADER = """\
# Envoy in front of Murmuration, {mode} mode. Written by:
#   {command}
"""


def envoy_config(
    mode: Annotated[GatewayMode, typer.Option(help="How Envoy shows requests to a picker.")],
    listen: Annotated[str, typer.Option(help="Where clients connect.")] = "0.0.0.0:8081",
    admin: Annotated[str, typer.Option(help="Envoy's admin port.")] = "127.0.0.1:19000",
    picker: Annotated[
        list[str] | None, typer.Option(help="A picker's ext_proc address; repeat it.")
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="A model server's address; repeat it.")
    ] = None,
) -> None:
    """Print Envoy's configuration as YAML."""
    spec = GatewaySpec(
        mode=mode,
        listen=parse_host_port(listen),
        admin=parse_host_port(admin),
        pickers=[parse_host_port(each) for each in picker or ["127.0.0.1:9002"]],
        endpoints=[parse_host_port(each) for each in endpoint or ["127.0.0.1:8000"]],
    )
    print(render(spec), end="")


def render(spec: GatewaySpec) -> str:
    """Return the document with a header that says how it was made."""
    return _header(spec) + yaml.safe_dump(bootstrap(spec), sort_keys=False)


def parse_host_port(text: str) -> HostPort:
    """Read `127.0.0.1:8000` or `[::1]:8000`; raises typer.BadParameter."""
    host, separator, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not separator or not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise typer.BadParameter(f"{text!r} is no address: expected HOST:PORT")
    return HostPort(host=bare, port=int(port))


def _header(spec: GatewaySpec) -> str:
    flags = [
        f"--mode {spec.mode.value}",
        f"--listen {_show(spec.listen)}",
        f"--admin {_show(spec.admin)}",
        *(f"--picker {_show(each)}" for each in spec.pickers),
        *(f"--endpoint {_show(each)}" for each in spec.endpoints),
    ]
    command = " ".join(["python -m chaos envoy-config", *flags])
    return HEADER.format(mode=spec.mode.value, command=command)


def _show(address: HostPort) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
