"""`python -m chaos`: the commands, each in a module of its own."""

import typer

from chaos.demo.command import demo
from chaos.fleet import fleet
from chaos.gateway.command import envoy_config
from chaos.load.command import load
from chaos.simulate import simulate

app = typer.Typer(
    name="murmuration-chaos",
    help="Simulated model servers, load and faults.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def chaos() -> None:
    """Keep every command a subcommand, whatever their number."""


app.command()(demo)
app.command("envoy-config")(envoy_config)
app.command()(fleet)
app.command()(load)
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(simulate)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
