"""The pages of the documentation site: those of the repository, at their own paths, and those of the reference.

`python docs/site/pages.py FOLDER` collects them in FOLDER, from which Sphinx builds the site. As the paths are those of
the repository, the same relative links hold on GitHub and in the site.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from api import api_pages
from commands import command_pages

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "dedl_fastai/models/nuclei/README.md",
)
_WIDTH = 84  # characters that fit in a line of code on a screen of 1280 pixels
_BLOCK = re.compile(r"^(```[^\n]*\n)(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCES = ("```\n", "```bash\n")  # of commands
_WITH_COMMENT = re.compile(r"^(?:(\S.*?) +| +)# +(.*)$", re.MULTILINE)


def collect(target: Path) -> None:
    """Write all pages to the folder `target`, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target / "docs", ignore=shutil.ignore_patterns(HERE.name))
    shutil.copytree(
        ROOT / "nbs", target / "nbs", ignore=lambda _, names: [n for n in names if not n.endswith(".ipynb")]
    )
    for name in _FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    for page in HERE.glob("*.md"):
        shutil.copy(page, target / page.name)
    for page in target.rglob("*.md"):
        page.write_text(with_comments_above(page.read_text(encoding="utf-8")), encoding="utf-8")
    write_pages(target / "reference" / "commands", command_pages())
    write_pages(target / "reference" / "api", api_pages(ROOT / "dedl_fastai"))


def with_comments_above(page: str) -> str:
    """Return a page whose blocks of commands have comments in lines of their own where they are too wide."""

    def narrow(block: re.Match[str]) -> str:
        fence, lines = block.groups()
        if fence not in _FENCES or max(map(len, lines.splitlines()), default=0) <= _WIDTH:
            return block[0]
        return f"{fence}{_WITH_COMMENT.sub(_comment_first, lines)}```"

    return _BLOCK.sub(narrow, page)


def _comment_first(line: re.Match[str]) -> str:
    return "\n".join([f"# {line[2]}", *([line[1]] if line[1] else [])])


def write_pages(folder: Path, pages: Mapping[str, str]) -> None:
    """Write Markdown pages by name, with an index that lists them."""
    folder.mkdir(parents=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    collect(Path(sys.argv[1]))
