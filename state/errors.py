"""The error tree of the state package."""


class StateError(Exception):
    """Root of everything that this package raises on purpose."""


class StoreUnavailable(StateError):  # noqa: N818  reads as the state it reports
    """The store did not answer within its deadline: what was asked may or may not have happened."""


class InvalidEndpoints(StateError):  # noqa: N818
    """A list of endpoints is unusable; each problem names the entry, the field and the fix."""

    def __init__(self, source: str, problems: list[str]) -> None:
        """Keep where the list came from, and one sentence for each problem."""
        super().__init__(f"{source}: " + "; ".join(problems))
        self.source = source
        self.problems = problems


class InvalidStateUrl(StateError):  # noqa: N818
    """The `--state` value names no store that this build knows."""

    def __init__(self, url: str, reason: str) -> None:
        """Keep the URL and what is wrong with it."""
        super().__init__(f"state: {url!r}: {reason}")
        self.url = url
        self.reason = reason


class StoreMisconfigured(StateError):  # noqa: N818
    """The store answers, yet can never serve as configured: raised at start, names the fix."""

    def __init__(self, url: str, reason: str, fix: str) -> None:
        """Keep the URL without its password, what is wrong, and what to do."""
        super().__init__(f"state: {url}: {reason}: {fix}")
        self.url = url
        self.reason = reason
        self.fix = fix


class WireError(StateError):
    """Bytes from a store are no message of ours, or one of another schema version."""
