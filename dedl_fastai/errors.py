"""The one exception a user can cause: its message names the file, what is wrong and what to do."""


class UserError(ValueError):
    """Bad input or options. The CLI prints the message and exits with code 2; nothing was half-written."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message  # fastai puts a callback's name in front of `args`; the sentence stays as it was

    def __str__(self) -> str:
        return self.message
