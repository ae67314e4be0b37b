"""The rooms of the package: the order that docs/architecture.md lists, their imports, and their public names."""

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import dedl_fastai

PACKAGE = Path(dedl_fastai.__file__).parent
ROOT = PACKAGE.parent
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def listed_rooms() -> list[str]:
    """The rooms of the list under the heading "The rooms", from the one that imports nothing."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.search(r"^## The rooms$(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert section
    return re.findall(r"^\d+\. `(\w+)(?:/|\.py)`", section[1], re.MULTILINE)


def room_of(module: str) -> str:
    """The room of "dedl_fastai.io.masks": io; "" for the package itself."""
    return [*module.split("."), ""][1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every import from the package, those inside functions included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] == "dedl_fastai")
        elif isinstance(node, ast.ImportFrom):
            parents = list(package[: len(package) - node.level + 1]) if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            if source == "dedl_fastai":  # from .. import errors
                yield from ((node.lineno, f"{source}.{a.name}") for a in node.names)
            elif source.startswith("dedl_fastai."):
                yield node.lineno, source


def test_the_page_lists_every_room():
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__"}
    assert sorted(listed_rooms()) == sorted(rooms)


def test_a_room_imports_from_those_above_it_in_the_list_only():
    order = {room: i for i, room in enumerate(listed_rooms())}
    wrong = []
    for path, tree in MODULES.items():
        room = room_of(name_of(path))
        for line, source in imported_modules(path, tree):
            other = room_of(source)
            if other in order and (not room or order[other] > order[room]):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {source}")
    assert not wrong, "\n".join(wrong)


def test_imports_are_resolved_against_the_module_that_has_them():
    tree = ast.parse("from . import a\nfrom ..io.files import b\nfrom .. import errors\nimport dedl_fastai.data.cohort")
    found = [name for _, name in imported_modules(PACKAGE / "data" / "demo.py", tree)]
    assert found == ["dedl_fastai.data", "dedl_fastai.io.files", "dedl_fastai.errors", "dedl_fastai.data.cohort"]


def test_import_linter_has_the_same_order():
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[[tool.importlinter.contracts]]")
    layers = re.search(r"layers = \[(.*?)\]", next(c for c in contracts if 'id = "rooms"' in c), re.DOTALL)
    assert layers
    assert re.findall(r'"(\w+)"', layers[1]) == listed_rooms()[::-1]


def test_paths_on_the_page_exist():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)+\w+\.\w+)`", page)
    assert len(files) > 10
    bases = (PACKAGE, ROOT)
    assert [f for f in files if not any((base / f).is_file() for base in bases)] == []


@pytest.fixture(scope="module")
def doors() -> dict[str, set[str]]:
    """The public names of each room that `dedl_fastai.all` imports."""
    stars = [n for n in MODULES[PACKAGE / "all.py"].body if isinstance(n, ast.ImportFrom) and n.level]
    rooms = [n.module for n in stars if n.module]
    return {room: set(importlib.import_module(f"dedl_fastai.{room}").__all__) for room in rooms}


def test_all_imports_every_room_with_public_names_in_the_order_of_the_rooms(doors):
    with_names = [
        p.parent.name for p, tree in MODULES.items() if p.name == "__init__.py" and "__all__" in ast.unparse(tree)
    ]
    order = listed_rooms()
    assert list(doors) == sorted(with_names, key=order.index)


def test_no_public_name_hides_another(doors):
    import fastai.vision.all as fastai

    owners = defaultdict(set)
    for room, names in doors.items():
        for name in names:
            owners[name].add(room)
    assert {name: rooms for name, rooms in owners.items() if len(rooms) > 1} == {}
    assert {name for name in owners if hasattr(fastai, name)} == set()


def test_no_public_name_is_that_of_a_module_of_its_room(doors):
    """An older lazy_loader gives the module in its place, once another module has imported it."""
    modules = {room: {p.stem for p in (PACKAGE / room).iterdir()} for room in doors}
    assert {room: names & modules[room] for room, names in doors.items() if names & modules[room]} == {}


def test_the_notebook_namespace_has_fastai_and_every_public_name(doors):
    import dedl_fastai.all as namespace

    assert namespace.Learner.__module__.startswith("fastai")
    for room, names in doors.items():
        module = importlib.import_module(f"dedl_fastai.{room}")
        assert all(getattr(namespace, name) is getattr(module, name) for name in names)
