"""The documentation site, without Sphinx: its navigation, the generated pages, and the relative links of all pages."""

import importlib
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from .blocks import PAGES, ROOT

SITE = ROOT / "docs" / "site"
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    """The pages that Sphinx builds the site from."""
    folder = tmp_path_factory.mktemp("site") / "source"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SITE))
        importlib.import_module("pages").collect(folder)
    return folder


def entries(page: Path) -> set[str]:
    """The pages in the toctrees of a page, by their paths without an ending."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    return {re.sub(r".*<(.*)>", r"\1", line) for line in lines}


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page whose file or heading does not exist."""
    broken = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        if re.match(r"\w+:", link):
            continue
        if not target.exists() or (anchor and anchor not in slugs(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


def test_every_page_is_in_the_navigation_once(collected):
    pages = {p.relative_to(collected).with_suffix("").as_posix() for p in collected.rglob("*") if is_page(p)}
    listed = [
        (p.parent.relative_to(collected) / entry).as_posix() for p in collected.rglob("*.md") for entry in entries(p)
    ]
    assert sorted(listed) == sorted(pages - {"index"})


def is_page(path: Path) -> bool:
    return path.suffix in (".md", ".ipynb")


def test_links_of_the_site_lead_to_its_pages(collected):
    assert {str(p.relative_to(collected)): b for p in collected.rglob("*.md") if (b := broken_links(p))} == {}


def test_links_in_the_repository_lead_to_files():
    pages = [p for p in PAGES if p.parent != SITE]  # those are written for the place where they are collected
    assert {p.name: b for p in pages if (b := broken_links(p))} == {}


def test_long_commands_have_their_comments_in_lines_of_their_own(collected):
    lines = (collected / "docs" / "analyst.md").read_text(encoding="utf-8").splitlines()
    place = lines.index("dedl-fastai predict nuclei EXPORTS --out results --rules tfh5")
    assert lines[place - 1] == "# 2. nuclei, cells, and their types by rules"
    assert lines[place + 1] == "# 3. the cut-offs of the markers, with pictures"
    for page in PAGES:
        if page.parent != SITE:
            copy = (collected / page.relative_to(ROOT)).read_text(encoding="utf-8")
            words, copied = (sorted(text.replace("#", " ").split()) for text in (page.read_text("utf-8"), copy))
            assert words == copied, page


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](page.md#one) [b](page.md#two) [c](none.md) [d](https://example.org)\n")
    assert broken_links(page) == ["page.md#two", "none.md"]


def text_of(folder: Path, pages: str) -> str:
    return "".join(p.read_text(encoding="utf-8") for p in sorted((folder / "reference").glob(pages)))


def test_every_public_name_is_in_the_interface(collected):
    rooms = [p.parent.name for p in (ROOT / "dedl_fastai").glob("*/__init__.py")]
    names = [n for r in rooms for n in getattr(importlib.import_module(f"dedl_fastai.{r}"), "__all__", [])]
    found = re.findall(r"^## (\w+)$", text_of(collected, "api/*.md"), re.MULTILINE)
    assert sorted(found) == sorted(names)


def test_the_interface_has_signatures_docstrings_and_patched_verbs(collected):
    learners = text_of(collected, "api/learners.md")
    assert '    encoder: str = "resnet34",\n' in learners and "  # in the decoder: none, se (the paper)" in learners
    assert "\nOpen an image file as a `Field`." in text_of(collected, "api/files.md")
    assert {"### FieldLearner.evaluate", "### FieldLearner.fit_cosine"} <= set(learners.splitlines())
    assert "### Ensemble.fit" in text_of(collected, "api/inference.md").splitlines()


def test_methods_are_shown_as_the_module_that_defines_them_writes_them(collected):
    page = (collected / "reference" / "api" / "inference.md").read_text(encoding="utf-8")
    shown = page.partition("### Segmenter.probability")[2].partition("```python\n")[2].partition("\n```")[0]
    assert shown.startswith("def probability(self, field: ")


def test_commands_have_their_options(collected):
    assert "| `--encoder <str>` | Encoder: resnet18..101" in text_of(collected, "commands/seg.md")
    assert "## dedl-fastai data convert" in text_of(collected, "commands/data.md").splitlines()
    assert "[seg](seg.md)" in text_of(collected, "commands/index.md")
