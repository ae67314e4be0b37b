"""`UserError`: the one exception for mistakes of the user; its message names the file, the fault and the remedy."""

_LONGEST = 1200  # characters of a line; the middle of a longer one is left out


class UserError(ValueError):
    """Bad input or options. The CLI prints the message and exits with code 2; no file is left half-written.

    A message is one line, whatever it quotes; `more` adds lines, for several files at once.
    """

    def __init__(self, message: str, *more: str):
        message = "\n".join(map(one_line, (message, *more)))
        super().__init__(message)
        self.message = message  # fastai prepends a callback's name to `args`; the message itself stays unchanged

    def __str__(self) -> str:
        return self.message


def one_line(text: str) -> str:
    """Return text without line breaks and control characters, and without the middle if it is very long."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 3 :]}"
