"""The error tree of picker.scheduling."""


class SchedulingError(Exception):
    """Root of everything that this package raises on purpose."""


class InvalidConfig(SchedulingError):  # noqa: N818  reads as what the file is
    """A configuration is unusable: `path` names the field, `reason` says why."""

    def __init__(self, path: str, reason: str) -> None:
        """Keep the path of the field and the reason."""
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
