"""`python -m chaos fleet`: simulated model servers on a range of ports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from chaos.engine.core import EngineSpec
from chaos.modelserver.fleet import listen, serve_fleet
from chaos.modelserver.server import ModelServer, ServerSpec
from chaos.process import run, stop_on_signals, wall_time, write_atomically

ENGINE = EngineSpec()
SERVER = ServerSpec()


def fleet(
    *,
    servers: Annotated[int, typer.Option(min=1, max=4096, help="How many model servers.")] = 6,
    base_port: Annotated[
        int, typer.Option(min=0, max=65535, help="First port; 0 lets the system choose each.")
    ] = 18000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    endpoints_out: Annotated[
        Path | None, typer.Option(help="Write a discovery file here once all servers listen.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace in the discovery file.")] = "default",
    speeds: Annotated[
        str, typer.Option(help="Relative speeds, comma-separated, dealt to the servers in turn.")
    ] = "1.0",
    model: Annotated[
        list[str] | None, typer.Option(help="Served model name; repeat for aliases.")
    ] = None,
    prefill_rate: Annotated[
        float, typer.Option(min=1, help="Prompt tokens computed per second at speed 1.")
    ] = ENGINE.prefill_tokens_per_second,
    decode_step_seconds: Annotated[
        float, typer.Option(min=1e-6, help="Fixed time of a step (a token for all) at speed 1.")
    ] = ENGINE.step_seconds,
    decode_sequence_seconds: Annotated[
        float, typer.Option(min=0, help="Step time added by each decoding sequence at speed 1.")
    ] = ENGINE.step_seconds_per_sequence,
    chunk_tokens: Annotated[
        int, typer.Option(min=1, help="Prompt tokens computed in one step at most.")
    ] = ENGINE.chunk_tokens,
    kv_tokens: Annotated[
        int, typer.Option(min=1, help="KV capacity in tokens.")
    ] = ENGINE.kv_tokens,
    block_tokens: Annotated[
        int, typer.Option(min=1, max=1024, help="Tokens in a KV block.")
    ] = ENGINE.block_tokens,
    max_running: Annotated[
        int, typer.Option(min=1, help="Sequences in a batch at most.")
    ] = ENGINE.max_running,
    max_model_len: Annotated[
        int | None,
        typer.Option(min=2, help="Prompt and output tokens of a request; default: kv, <= 65536."),
    ] = None,
    tokens_per_event: Annotated[
        int, typer.Option(min=1, help="Tokens in one server-sent event.")
    ] = SERVER.tokens_per_event,
    metrics_padding_bytes: Annotated[
        int, typer.Option(min=0, max=10_000_000, help="Make the 45 KB metrics page longer.")
    ] = SERVER.metrics_padding_bytes,
    time_scale: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Run engines this much faster than real.")
    ] = SERVER.time_scale,
    seed: Annotated[int, typer.Option(help="Seed of the injected faults.")] = 0,
) -> None:
    """Serve simulated vLLM servers until SIGTERM or SIGINT."""
    ratios = parse_speeds(speeds)
    ports = _ports(base_port, servers)
    engine = EngineSpec(
        prefill_tokens_per_second=prefill_rate,
        step_seconds=decode_step_seconds,
        step_seconds_per_sequence=decode_sequence_seconds,
        chunk_tokens=chunk_tokens,
        block_tokens=block_tokens,
        kv_tokens=kv_tokens,
        max_running=max_running,
    )
    spec = ServerSpec(
        models=tuple(model or SERVER.models),
        engine=engine,
        max_model_len=_model_len(max_model_len, engine),
        tokens_per_event=tokens_per_event,
        metrics_padding_bytes=metrics_padding_bytes,
        time_scale=time_scale,
    )
    run(_serve(spec, host, ports, ratios, seed, endpoints_out, namespace))


def parse_speeds(text: str) -> tuple[float, ...]:
    """Read comma-separated speeds. Raises typer.BadParameter."""
    try:
        speeds = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers", param_hint="--speeds"
        ) from error
    if not all(0 < speed <= 1000 for speed in speeds):
        raise typer.BadParameter("each must be above 0 and at most 1000", param_hint="--speeds")
    return speeds


def endpoints_document(servers: Sequence[ModelServer], namespace: str) -> str:
    """Render the discovery file of a fleet."""
    entries = [_endpoint(index, server, namespace) for index, server in enumerate(servers)]
    return yaml.safe_dump({"endpoints": entries}, sort_keys=False)


def _endpoint(index: int, server: ModelServer, namespace: str) -> dict[str, object]:
    address, _, port = server.served_by.rpartition(":")
    return {
        "name": f"sim-{index:03d}",
        "namespace": namespace,
        "address": address,
        "port": int(port),
        "labels": {"app": "chaos-fleet", "speed": str(server.knobs.speed)},
    }


def _ports(base_port: int, servers: int) -> list[int]:
    if not base_port:
        return [0] * servers
    if base_port + servers - 1 > 65535:
        message = f"{servers} servers from port {base_port} on would need ports above 65535"
        raise typer.BadParameter(message, param_hint="--base-port")
    return list(range(base_port, base_port + servers))


def _model_len(asked: int | None, engine: EngineSpec) -> int:
    capacity = engine.blocks * engine.block_tokens
    if capacity < 2:
        message = f"must hold at least one block of {engine.block_tokens} tokens"
        raise typer.BadParameter(message, param_hint="--kv-tokens")
    if asked is not None and asked > capacity:
        message = f"{asked} tokens do not fit a KV cache of {capacity} tokens"
        raise typer.BadParameter(message, param_hint="--max-model-len")
    return asked or min(capacity, SERVER.max_model_len)


async def _serve(
    spec: ServerSpec,
    host: str,
    ports: Sequence[int],
    speeds: Sequence[float],
    seed: int,
    endpoints_out: Path | None,
    namespace: str,
) -> None:
    sockets = listen(host, ports)
    with stop_on_signals() as stop:
        async with serve_fleet(spec, sockets, speeds=speeds, seed=seed, wall=wall_time) as servers:
            if endpoints_out is not None:
                write_atomically(endpoints_out, endpoints_document(servers, namespace))
            print(f"ready servers={len(servers)} first={servers[0].served_by}", flush=True)
            await stop.wait()
