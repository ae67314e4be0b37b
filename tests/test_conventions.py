"""Conventions of CONTRIBUTING.md that a parser can check: messages name no flags, calls use keywords."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import dedl_fastai

PACKAGE = Path(dedl_fastai.__file__).parent
ROOT = PACKAGE.parent
MODULES = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "warn"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_POSITIONAL = 4


def called_name(call: ast.Call) -> str:
    """The last name of the callee: `f` of `f()` and of `a.b.f()`."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def text_of(node: ast.AST) -> str:
    """All string constants of a node, those of f-strings included."""
    return " ".join(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def names_a_flag(call: ast.Call) -> bool:
    """Whether an error or a log line of the library names a flag of the command line."""
    is_message = called_name(call) in {"UserError", *LOG_CALLS}
    return is_message and bool(re.search(r"(?<![\w-])--[a-z]", text_of(call)))


def own_callables(trees: Iterable[ast.AST]) -> set[str]:
    """Names of the functions and classes of the package, except functions with any number of arguments (`*names`)."""
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, (*FUNCTIONS, ast.ClassDef))]
    return {n.name for n in nodes} - {n.name for n in nodes if isinstance(n, FUNCTIONS) and n.args.vararg}


def long_calls(node: ast.AST, own: set[str], parameters: frozenset[str] = frozenset()) -> Iterator[ast.Call]:
    """Calls of `own` names with too many positional arguments; a callback that was passed in is not ours to name."""
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        arguments = node.args
        parameters |= {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    is_callback = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in parameters
    if isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL and called_name(node) in own and not is_callback:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from long_calls(child, own, parameters)


def test_messages_of_the_library_name_arguments_and_no_flags():
    found = [
        f"{path}:{call.lineno}"
        for path, tree in MODULES.items()
        if path.parts[1] != "cli"
        for call in calls(tree)
        if names_a_flag(call)
    ]
    assert not found, "flags in messages: " + ", ".join(found)


def test_calls_of_our_own_functions_pass_at_most_four_positional_arguments():
    own = own_callables(MODULES.values())
    found = [
        f"{path}:{call.lineno}: {called_name(call)}" for path, tree in MODULES.items() for call in long_calls(tree, own)
    ]
    assert not found, f"more than {MOST_POSITIONAL} positional arguments:\n" + "\n".join(sorted(found))


def test_the_checks_find_what_they_look_for():
    flag, no_flag = calls(ast.parse("raise UserError(f'{x}: use --lr 1'); log.info('a--b, lr=%g', 1)"))
    assert names_a_flag(flag) and not names_a_flag(no_flag)
    source = """
def f(a, b, c, d, e): ...
def any_number(*names): ...
def with_callback(f): f(1, 2, 3, 4, 5)
a.f(1, 2, 3, 4, e=5)
other(1, 2, 3, 4, 5)
any_number(1, 2, 3, 4, 5)
a.f(1, 2, 3, 4, 5)
"""
    tree = ast.parse(source)
    assert [call.lineno for call in long_calls(tree, own_callables([tree]))] == [8]


def test_notebooks_import_from_rooms_only():
    found = []
    for notebook in sorted((ROOT / "nbs").glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        lines = [line for c in cells if c["cell_type"] == "code" for line in "".join(c["source"]).splitlines()]
        imports = [line for line in lines if re.match(r"\s*(from|import) dedl_fastai\b", line)]
        assert imports, notebook
        found += [f"{notebook.name}: {i}" for i in imports if not re.match(r"from dedl_fastai\.\w+ import ", i)]
    assert not found, "\n".join(found)
