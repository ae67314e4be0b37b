"""The code in README.md and docs/*.md: fenced blocks, and commands in backticks within the text."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [*sorted((ROOT / "docs" / "site").glob("*.md")), ROOT / "dedl_fastai" / "models" / "nuclei" / "README.md"]
PROGRAM = "dedl-fastai"
_FENCE = re.compile(r"^```([\w-]*|\{[\w-]+\})\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language ("" for commands), and its text."""

    page: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """The first line that is no import, by which tests name a block."""
        lines = [line for line in self.text.splitlines() if line and not line.startswith(("import ", "from "))]
        return lines[0].split("  #")[0]


def blocks_of(text: str, page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(page, language, code) for language, code in _FENCE.findall(text)]


def all_blocks() -> list[Block]:
    """Return the fenced blocks of all pages."""
    return [b for p in PAGES for b in blocks_of(p.read_text(encoding="utf-8"), str(p.relative_to(ROOT)))]


def words_of(line: str) -> list[str]:
    """Split a command as a shell does, without its comment."""
    return shlex.split(line, comments=True)


def shell_lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a block; a line that ends with a backslash continues."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := words_of(line):
            yield words


def inline_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `dedl-fastai ...` in backticks that has options, and so is a whole command."""
    for code in re.findall(r"`([^`]+)`", _FENCE.sub("", text)):
        words = words_of(" ".join(code.split())) if code.startswith(f"{PROGRAM} ") else []
        if any(w.startswith("--") for w in words) and not {"COMMAND", "..."} & set(words):
            yield words
