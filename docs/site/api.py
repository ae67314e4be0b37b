"""Pages of the Python interface: signatures and docstrings of the public names, read from the source.

Nothing is imported. Signatures are shown as they are written, with the comments that explain the parameters.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

GROUPS = {  # page: title, and the modules whose names it has; the longest prefix of a module counts
    "files": ("Fields and files", ("io",)),
    "cohorts": ("Cohorts, splits and pixels", ("data",)),
    "seg-data": ("Data for segmentation", ("data.segmentation",)),
    "clf-data": ("Data for classification", ("data.classification",)),
    "learners": ("Learners, losses, metrics and callbacks", ("training",)),
    "models": ("Networks and their weights", ("models",)),
    "inference": ("Trained models", ("inference",)),
    "cells": ("Nuclei and cells", ("cells",)),
    "phenotypes": ("Phenotypes and cut-offs", ("phenotypes",)),
    "scores": ("Scores", ("scores",)),
    "runs": ("Whole runs, from options to a folder", ("runs",)),
    "predict": ("Folders of results", ("predict",)),
}
_INTRO = """# Python interface

`from dedl_fastai.all import *` gives fastai's names and all of these. Each name can also be imported from its room, as
in `from dedl_fastai.io import open_field`; `io`, `phenotypes`, `cells` and `scores` import no deep-learning library.
"""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_UNSEEN = ("_", "before_", "after_")  # private methods, and the events of fastai's callbacks
_SHOWN = {"property", "cached_property", "classmethod", "staticmethod"}


@dataclass
class Module:
    """The source of one module."""

    path: Path

    @cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def body(self) -> list[ast.stmt]:
        """Its statements."""
        return ast.parse(self.text).body

    def lines(self, first: int, last: int) -> str:
        """Return the lines from `first` to before `last`, without their common indentation."""
        lines = self.text.splitlines()[first - 1 : last - 1]
        indent = len(lines[0]) - len(lines[0].lstrip())
        return "\n".join(line[indent:] for line in lines)


@dataclass
class Public:
    """A public name: where it is, and the verbs that other modules patch onto it."""

    room: str
    name: str
    module: Module
    node: ast.stmt
    patched: list[tuple[Module, ast.FunctionDef, str]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (_docstring(self.node) or "").split("\n")[0]


def api_pages(package: Path) -> dict[str, str]:
    """Return the Markdown page of each group of public names of the package, and "index"."""
    pages: dict[str, list[Public]] = {page: [] for page in GROUPS}
    names = public_names(package)
    for dotted, public in sorted(names.items(), key=lambda item: item[1].name.lower()):
        pages[_page_of(dotted)].append(public)
    index = [_INTRO]
    for page, members in pages.items():
        index += [f"## [{GROUPS[page][0]}]({page}.md)", "", "| name | what it is |", "|---|---|"]
        index += [
            f"| [`{p.name}`]({page}.md#{_slug(p.name)}) | {p.summary.replace('|', chr(92) + '|')} |" for p in members
        ]
        index.append("")
    index += ["```{toctree}", ":hidden:", *pages, "```"]
    return {"index": "\n".join(index)} | {
        page: "\n".join([f"# {GROUPS[page][0]}", "", *(line for p in members for line in _entry(p))])
        for page, members in pages.items()
    }


def public_names(package: Path) -> dict[str, Public]:
    """Return the public names of all rooms, by the dotted path of their definition."""
    found = {}
    for room in sorted(package.glob("*/__init__.py")):
        for module, names in _listed(room).items():
            source = Module(room.parent / f"{module.replace('.', '/')}.py")
            for name in names:
                public = Public(room.parent.name, name, *_definition(source, name))
                found[f"{room.parent.name}.{module}.{name}"] = public
    by_name = {p.name: p for p in found.values()}
    for path in sorted(package.glob("*/*.py")):
        module = Module(path)
        for node in module.body if "@patch" in module.text else ():
            for owner, verb in _patches(node):
                if owner in by_name:
                    by_name[owner].patched.append((module, node, verb))
    return found


def _listed(init: Path) -> dict[str, list[str]]:
    """The `submod_attrs` of a room: module to public names."""
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            return ast.literal_eval(node.value)
    return {}


def _page_of(dotted: str) -> str:
    fitting = {prefix: page for page, (_, prefixes) in GROUPS.items() for prefix in prefixes}
    return fitting[max((p for p in fitting if f"{dotted}.".startswith(f"{p}.")), key=len)]


def _definition(module: Module, name: str) -> tuple[Module, ast.stmt]:
    """The module in which a name is defined, which may be one that `module` imports it from, and the definition."""
    for node in module.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if getattr(node, "name", None) == name or name in [getattr(t, "id", None) for t in targets]:
            return module, node
        if isinstance(node, ast.ImportFrom) and name in [a.name for a in node.names]:
            return _definition(Module(_imported(module.path, node)), name)
    raise LookupError(f"{module.path} does not define {name}")


def _imported(path: Path, node: ast.ImportFrom) -> Path:
    folder = path.parents[node.level - 1]
    return folder / f"{(node.module or '').replace('.', '/')}.py"


def _patches(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """The classes that a function with fastcore's `@patch` becomes a method of, with the name of the method."""
    if not isinstance(node, ast.FunctionDef):
        return
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(called, "id", "") == "patch":
            names = {k.arg: ast.literal_eval(k.value) for k in getattr(decorator, "keywords", [])}
            annotation = node.args.args[0].annotation
            for owner in ast.unparse(annotation).split("|") if annotation else []:
                yield owner.strip(), names.get("nm", node.name)


def _docstring(node: ast.stmt) -> str | None:
    return ast.get_docstring(node) if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) else None


def _slug(heading: str) -> str:
    return heading.lower().replace(".", "")


def _entry(public: Public) -> Iterator[str]:
    """The heading, signature, docstring and methods of a public name."""
    node, module = public.node, public.module
    yield from (f"## {public.name}", "", f"`from dedl_fastai.{public.room} import {public.name}`", "")
    if isinstance(node, _FUNCTIONS):
        yield from _function(module, node)
    elif isinstance(node, ast.ClassDef):
        yield from _class(public)
    else:
        yield from ("```python", ast.unparse(node), "```", "")


def _function(module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    shown = [f"@{d.id}" for d in node.decorator_list if isinstance(d, ast.Name) and d.id in _SHOWN]
    yield from ("```python", *shown, _signature(module, node), "```", "", _docstring(node) or "", "")


def _signature(module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The source from `def` to the colon, with its comments."""
    return module.lines(node.lineno, max(node.body[0].lineno, node.lineno + 1)).rstrip().removesuffix(":")


def _class(public: Public) -> Iterator[str]:
    node, module = public.node, public.module
    assert isinstance(node, ast.ClassDef)
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    fields = [_field(module, n) for n in node.body if isinstance(n, ast.AnnAssign) and not _is_private(n)]
    methods = [n for n in node.body if isinstance(n, _FUNCTIONS)]
    made = [_signature(module, n) for n in methods if n.name == "__init__"]
    inside = [f"    {line}" for block in (*fields, *made) for line in block.splitlines()]
    yield from ("```python", f"class {node.name}{bases}", *inside, "```", "", _docstring(node) or "", "")
    for method in methods:
        if not method.name.startswith(_UNSEEN) and _docstring(method):
            yield from (f"### {node.name}.{method.name}", "", *_function(module, method))
    for source, function, verb in public.patched:
        yield from (f"### {node.name}.{verb}", "", *_function(source, function))


def _is_private(node: ast.AnnAssign) -> bool:
    return getattr(node.target, "id", "_").startswith("_") or "ClassVar" in ast.unparse(node.annotation)


def _field(module: Module, node: ast.AnnAssign) -> str:
    """A field of a dataclass with its comment; that of an option is its help."""
    head = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    value = node.value
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "option":
        return f"{head} = {ast.unparse(value.args[0])}  # {_text(value.args[1])}"
    return module.lines(node.lineno, (node.end_lineno or node.lineno) + 1)


def _text(node: ast.expr) -> str:
    """The text of a help, with the names of constants in an f-string."""
    return (
        ast.literal_eval(node) if isinstance(node, ast.Constant) else ast.unparse(node).removeprefix("f").strip("'\"")
    )
