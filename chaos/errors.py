"""What ends a chaos command with one sentence in place of a traceback."""


class ChaosError(Exception):
    """A command cannot go on; the message is for the person who started it."""
