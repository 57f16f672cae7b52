"""The shipped Envoy examples: true to the builder that the demo uses, and valid to Envoy."""

import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from chaos.__main__ import app
from chaos.cluster.cluster import ENVOY
from chaos.gateway.config import GatewayMode

DEPLOY = Path(__file__).parents[2] / "deploy" / "envoy"


@pytest.mark.parametrize("mode", GatewayMode)
def test_examples_are_what_their_header_says(mode: GatewayMode) -> None:
    """Each file names the command that wrote it, and is its output."""
    text = (DEPLOY / f"{mode.value}.yaml").read_text()
    command = text.splitlines()[1].removeprefix("#   python -m chaos ").split()
    assert text == CliRunner().invoke(app, command).stdout


@pytest.mark.integration
@pytest.mark.parametrize("mode", GatewayMode)
def test_envoy_accepts_the_examples(mode: GatewayMode, tmp_path: Path) -> None:
    """As Envoy's own validation sees them."""
    path = tmp_path / "envoy.yaml"
    path.write_text((DEPLOY / f"{mode.value}.yaml").read_text())
    command = [str(ENVOY), "--mode", "validate", "-c", str(path), "--log-level", "error"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert 0 == result.returncode, result.stderr


def test_only_full_duplex_streams_responses_through_the_picker() -> None:
    """In the other modes no token passes through us, and Envoy may go on without us."""
    for mode in GatewayMode:
        document = yaml.safe_load((DEPLOY / f"{mode.value}.yaml").read_text())
        chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
        filters = chain["filters"][0]["typed_config"]["http_filters"]
        ext_proc = filters[0]["typed_config"]
        resilient = mode is not GatewayMode.CONFORMANT
        assert resilient is ext_proc["failure_mode_allow"]
        assert resilient is (ext_proc["processing_mode"]["response_body_mode"] == "NONE")
        assert "SEND" == ext_proc["processing_mode"]["response_trailer_mode"]
