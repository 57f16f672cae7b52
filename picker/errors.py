"""The error tree of the picker's composition: what keeps it from starting."""


class PickerError(Exception):
    """Root of everything that stops a picker from starting, said in one sentence."""


class InvalidSettings(PickerError):  # noqa: N818  reads as what they are
    """Settings are unusable; each problem names the field and the fix."""

    def __init__(self, problems: list[str]) -> None:
        """Keep one sentence for each problem."""
        super().__init__("; ".join(problems))
        self.problems = problems


class AddressInUse(PickerError):  # noqa: N818
    """Something else listens on an address that we were told to use."""

    def __init__(self, flag: str, address: str, reason: str) -> None:
        """Keep which flag gave the address."""
        super().__init__(f"--{flag}: cannot listen on {address}: {reason}")
        self.flag = flag
        self.address = address
