"""`python -m chaos load`: send a workload and print what came of it."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from chaos.load.results import Percentiles, Summary
from chaos.load.runner import LoadSpec, Progress, run_load
from chaos.load.workload import Arrivals, Mix
from chaos.process import run, stop_on_signals, write_atomically

CHAT_PATH = "/v1/chat/completions"
MIX = Mix()


def load(
    *,
    url: Annotated[
        list[str],
        typer.Option(help=f"Gateway; {CHAT_PATH} is added if it has no path. Repeat: in turn."),
    ],
    rate: Annotated[
        float, typer.Option(min=0.001, max=100_000, help="Requests per second.")
    ] = MIX.rate,
    duration: Annotated[
        float | None,
        typer.Option(min=0.001, help="Seconds to send; default 10 without --requests."),
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Requests to send at most.")] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="How requests are spread over time.")
    ] = MIX.arrivals,
    model: Annotated[str, typer.Option(help="Model to ask for.")] = MIX.model,
    max_tokens: Annotated[int, typer.Option(min=1, help="Output tokens.")] = MIX.max_tokens,
    stream_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of streamed answers.")
    ] = MIX.stream_share,
    system_prompts: Annotated[
        int, typer.Option(min=0, max=10_000, help="Different system prompts, shared by requests.")
    ] = MIX.system_prompts,
    system_bytes: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Length of a system prompt.")
    ] = MIX.system_bytes,
    user_bytes_min: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Shortest user prompt.")
    ] = MIX.user_bytes_min,
    user_bytes_max: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Longest user prompt that is not long.")
    ] = MIX.user_bytes_max,
    long_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of long prompts.")
    ] = MIX.long_share,
    long_bytes: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Length of a long prompt.")
    ] = MIX.long_bytes,
    cancel_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that the client cancels.")
    ] = MIX.cancel_share,
    cancel_before_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of these, share cancelled before the first byte.")
    ] = MIX.cancel_before_share,
    header: Annotated[
        list[str] | None, typer.Option(help="Extra request header, NAME:VALUE; repeatable.")
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option(min=0.001, help="Longest wait for a whole answer.")
    ] = 60.0,
    max_in_flight: Annotated[
        int,
        typer.Option(min=1, max=20_000, help="Open requests; more wait, on their own latency."),
    ] = 1024,
    seed: Annotated[int, typer.Option(help="Seed of the workload.")] = MIX.seed,
    json: Annotated[
        str, typer.Option(help="Where the summary goes: a file, or - for the last line of stdout.")
    ] = "-",
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing on stderr.")] = False,
) -> None:
    """Send OpenAI chat requests at a given rate and sum up what came back."""
    if user_bytes_min > user_bytes_max:
        message = f"{user_bytes_min} is above --user-bytes-max {user_bytes_max}"
        raise typer.BadParameter(message, param_hint="--user-bytes-min")
    mix = Mix(
        rate=rate,
        duration_seconds=10.0 if duration is None and requests is None else duration,
        requests=requests,
        arrivals=arrivals,
        model=model,
        max_tokens=max_tokens,
        stream_share=stream_share,
        system_prompts=system_prompts,
        system_bytes=system_bytes,
        user_bytes_min=user_bytes_min,
        user_bytes_max=user_bytes_max,
        long_share=long_share,
        long_bytes=long_bytes,
        cancel_share=cancel_share,
        cancel_before_share=cancel_before_share,
        seed=seed,
    )
    spec = LoadSpec(
        urls=tuple(chat_url(text) for text in url),
        mix=mix,
        headers=dict(parse_header(text) for text in header or ()),
        timeout_seconds=timeout_seconds,
        max_in_flight=max_in_flight,
    )
    run(_load(spec, json, Console(stderr=True, quiet=quiet)))


def chat_url(url: str) -> str:
    """Complete a gateway's URL. Raises typer.BadParameter."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        message = f"{url!r} is not an http:// or https:// URL with a host"
        raise typer.BadParameter(message, param_hint="--url")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{CHAT_PATH}"


def parse_header(text: str) -> tuple[str, str]:
    """Split NAME:VALUE. Raises typer.BadParameter."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not NAME:VALUE", param_hint="--header")
    return name.strip(), value.strip()


def summary_table(summary: Summary) -> Table:
    """Lay a summary out for people."""
    table = Table(title=f"{summary.requests} requests in {summary.seconds:.1f} s", min_width=50)
    for column in ("", "count", "p50 ms", "p90 ms", "p99 ms"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("ok, first byte", *_cells(summary.ttft_ms))
    table.add_row("ok, whole answer", *_cells(summary.latency_ms))
    table.add_row("sent late by", *_cells(summary.lag_ms))
    table.add_row("cancelled", str(summary.cancelled))
    table.add_row("errors", str(summary.errors))
    for reason, count in summary.errors_by_reason.items():
        table.add_row(f"  {reason}", str(count))
    for endpoint, count in summary.endpoints.items():
        table.add_row(endpoint, str(count))
    return table


def _cells(values: Percentiles) -> tuple[str, ...]:
    return str(values.count), f"{values.p50:.1f}", f"{values.p90:.1f}", f"{values.p99:.1f}"


async def _load(spec: LoadSpec, destination: str, console: Console) -> None:
    def show(progress: Progress) -> None:
        console.print(
            f"{progress.seconds:6.1f} s  sent {progress.sent}  in flight {progress.in_flight}  "
            f"ok {progress.ok}  cancelled {progress.cancelled}  errors {progress.errors}",
            highlight=False,
        )

    with stop_on_signals() as stop:
        summary = await run_load(spec, on_progress=show, stop=stop)
    console.print(summary_table(summary))
    document = msgspec.json.encode(summary).decode()
    if destination == "-":
        print(document, flush=True)
    else:
        write_atomically(Path(destination), f"{document}\n")
