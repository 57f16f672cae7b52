"""What the demo shows."""

import io

from rich.console import Console

from chaos.demo.watch import EndpointLoad, Screen, View, merge_views
from chaos.load.runner import Progress


def load(name: str, requests: int, running: float | None = None) -> EndpointLoad:
    """Return one endpoint's load."""
    return EndpointLoad(id=name, requests=requests, running=running)


def test_bookings_add_up_over_replicas() -> None:
    """Scraped values are the same in all views, so they are not added."""
    views = [
        View(replica="a", endpoints=[load("x:1", 2, running=5), load("y:1", 0)]),
        View(replica="b", endpoints=[load("x:1", 1, running=5), load("y:1", 4)]),
    ]
    merged = merge_views(views, shared=False)
    assert [("x:1", 3, 5), ("y:1", 4, None)] == [(e.id, e.requests, e.running) for e in merged]


def test_a_shared_view_is_the_pools() -> None:
    """Each replica's view has the totals already."""
    views = [View(replica=name, endpoints=[load("x:1", 3)]) for name in "ab"]
    assert [3] == [each.requests for each in merge_views(views, shared=True)]
    assert [] == merge_views([], shared=True)


def test_plain_lines_come_now_and_then() -> None:
    """Where there is no terminal: one line in a few seconds."""
    output = io.StringIO()
    screen = Screen(Console(file=output), total=10)
    for seconds in (0.5, 3.5, 4.0):
        screen.progress = Progress(
            seconds=seconds, sent=5, in_flight=1, ok=3, cancelled=1, errors=0
        )
        screen.show([load("127.0.0.1:18090", 7)], replicas=2)
    (line,) = output.getvalue().splitlines()
    assert "sent 5/10" in line
    assert "18090:7" in line


def test_unknown_is_shown_as_unknown() -> None:
    """On a terminal a missing signal is no zero."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120)
    with Screen(console, total=10) as screen:
        screen.show([load("127.0.0.1:18090", 7)], replicas=2)
    assert "?" in output.getvalue()
