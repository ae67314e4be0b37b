"""`UserError`: the one exception for mistakes of the user; its message names the file, the fault and the remedy."""


class UserError(ValueError):
    """Bad input or options. The CLI prints the message and exits with code 2; no file is left half-written."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message  # fastai prepends a callback's name to `args`; the message itself stays unchanged

    def __str__(self) -> str:
        return self.message
