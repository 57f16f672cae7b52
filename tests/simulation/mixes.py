"""Workloads by name."""

from collections.abc import Mapping

import msgspec

from tests.simulation.cell import CHAT
from tests.simulation.workload import Mix

_changed = msgspec.structs.replace

MIXES: Mapping[str, Mix] = {
    mix.name: mix
    for mix in (
        CHAT,
        _changed(CHAT, name="few-prompts", system_prompts=8, system_tokens=1024),
        _changed(CHAT, name="many-prompts", system_prompts=1000, reach=0.7),
        _changed(CHAT, name="rag", long_share=0.02),
        _changed(
            CHAT,
            name="sessions",
            turns=6,
            system_prompts=16,
            user_tokens=(50, 450),
            output_tokens=(32, 96),
            reach=0.7,
        ),
        _changed(
            CHAT,
            name="completions",
            system_prompts=0,
            user_tokens=(30, 170),
            output_tokens=(4, 12),
        ),
    )
}
"""Chat with shared prompts of several popularities; chat in which one of 50 requests carries 25k
tokens of documents; growing conversations; short completions that share nothing."""
