"""`python -m picker serve | standalone | check`."""

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from picker.app import make_scheduler, read_config
from picker.errors import PickerError
from picker.plugins.catalogue import built_in
from picker.scheduling.config import effective_config, load_config
from picker.scheduling.delay import DelaySettings, ExpectedDelay
from picker.scheduling.errors import InvalidConfig
from picker.settings import PickerSettings, load_settings
from picker.standalone import run
from picker.workers import run_workers
from state.errors import StateError
from state.runtime import logging

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The settings model reads these commands' flags itself, `--help` included."""

EXPECTED = (PickerError, StateError, InvalidConfig)


@app.command(context_settings=PASS_ON)
def serve(context: typer.Context) -> None:
    """Serve ext_proc as one replica."""
    _serve(context, lambda settings: (1, settings.scrape))


@app.command(context_settings=PASS_ON)
def standalone(context: typer.Context) -> None:
    """Serve as several replicas, one collector and one memory store in one process."""
    _serve(context, lambda settings: (settings.replicas, True))


@app.command()
def check(
    config: Annotated[Path, typer.Option(help="EndpointPickerConfig to validate.")],
) -> None:
    """Validate a config and print the effective one; exit 1 with the field's path on error."""
    with _sentences():
        text = read_config(config)
        make_scheduler(config, ExpectedDelay(DelaySettings()), random.Random(0))  # noqa: S311
        print(json.dumps(effective_config(load_config(text), built_in()), indent=2))


def _serve(context: typer.Context, plan: Callable[[PickerSettings], tuple[int, bool]]) -> None:
    with _sentences():
        settings = load_settings(context.args, program=context.command_path)
        logging.configure(level=settings.log_level, form=settings.log_format)
        replicas, scrape = plan(settings)
        if settings.workers > 1:
            uvloop.run(run_workers(settings))
        else:
            uvloop.run(run(settings, replicas=replicas, scrape=scrape))


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what the user can mend into one sentence each and exit status 1."""
    problems: list[str] = []
    try:
        yield
    except* EXPECTED as group:
        problems = [str(error) for error in _leaves(group)]
    if problems:
        print("\n".join(f"error: {problem}" for problem in problems), file=sys.stderr)
        raise SystemExit(1)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def main() -> None:
    """Entry point."""
    app(prog_name="python -m picker")


if __name__ == "__main__":
    main()
