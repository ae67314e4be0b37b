"""The one exception a user can cause: its message names the file, what is wrong and what to do."""


class UserError(ValueError):
    """Bad input or options. The CLI prints the message and exits with code 2; nothing was half-written."""
