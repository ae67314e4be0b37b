"""Every code block of README.md and docs/*.md: commands parse, Python compiles and has the names that it uses."""

import ast
import builtins
import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from dedl_fastai.bench.paper.tables import load_table
from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io import write_component_tiff
from dedl_fastai.predict.kinds import KINDS
from dedl_fastai.predict.options import CellOptions, ModelOptions
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig

from .blocks import PAGES, PROGRAM, ROOT, Block, all_blocks, blocks_of, inline_commands, shell_lines

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT_COMMAND = get_command(app)
OPTIONS = {"seg": [SegConfig], "clf": [ClfConfig], "lr-find seg": [SegConfig], "lr-find clf": [ClfConfig]}
OPTIONS["predict"] = [CellOptions, ModelOptions]
OTHER_PROGRAMS = {"dask", "bioimageio", "sbatch", "ssh", "tmux"}  # not ours: their commands are not checked
OTHER_PROGRAMS |= {"docker", "export", "openssl", "umask"}
NO_CODE = {"{toctree}", "yaml", "text", "json", "csv"}
RUN = {  # Python blocks that are run, on synthetic files of the names that they use
    "nuclei = Segmenter.nuclei()",
    'field = open_field("sample_[7559,39143]_component_data.tif")',
    'cohort = split_cohort(demo_cohort("fields", fields=7, size=(96, 128)))',
}
NOT_RUN = {  # and why not
    'cohort = split_cohort(Cohort.load("FOLDER"))': "trains for minutes; nbs/00_segmentation.ipynb runs these verbs",
    'path = "sample_[7559,39143]_binary_seg_maps.tif"': (
        "needs a map of inForm; tests/io/test_real_image_files.py reads real ones"
    ),
    "def train(cohort, seed):": "trains twelve networks; tests/runs/test_ensembles.py runs a small one",
    'with open_field("https://server/slide.ome.zarr") as field:': "needs a server; tests/io has one in memory",
    'stores = {name: spatialdata.read_zarr(f"results/{name}.spatialdata.zarr") for name in ("field1", "field2")}': (
        "spatialdata is an optional package that the tests do not install"
    ),
}
OPTIONAL = {"spatialdata"}  # modules that need not be installed
BY_READER = {"cohort"}  # names that the text around a block says to have


def check_command(words: list[str]) -> None:
    """Parse a command as the program does; then check the values of its options as far as the library does early."""
    command, ctx, args, path = ROOT_COMMAND, None, words[1:], []
    while hasattr(command, "commands"):
        ctx = command.make_context(command.name or PROGRAM, args, parent=ctx)
        args = [*ctx._protected_args, *ctx.args]
        name, command, args = command.resolve_command(ctx, args)
        path.append(name)
    params = command.make_context(path[-1], args, parent=ctx).params
    for options in OPTIONS.get(" ".join(path), []):
        check_options(options, params)
    if path == ["bench", "run"]:
        load_table(params["table"]).select(params["rows"].split(","), params["columns"].split(";"))


def check_options(options: type, params: dict) -> None:
    """Raise a `UserError` if the library refuses the values of an `Options` class."""
    given = {}
    for name, field in options.__dataclass_fields__.items():
        value = params.get(name)
        if value is not None:
            given[name] = field.metadata["parse"](value) if "parse" in field.metadata else value
            given[name] = value[0] if "more" in field.metadata and value else given[name]
    given = {name: value for name, value in given.items() if value != []}
    assert set(given.pop("write", "all").split(",")) <= {*KINDS, "all"}  # the class also asks for the kind's extra
    options.resolve(given) if "preset" in options.__dataclass_fields__ else options(**given)


def is_shell(block: Block) -> bool:
    return block.language in ("", "bash")


SHELL = [b for b in all_blocks() if is_shell(b)]
PYTHON = [b for b in all_blocks() if b.language == "python"]


def named(block: Block) -> str:
    return f"{block.page}: {block.first_line[:50]}"


def wrong_commands(block: Block) -> list[str]:
    """Return what is wrong with the commands of a block."""
    wrong = []
    for words in shell_lines(block):
        try:
            check_line(words)
        except (UserError, AssertionError) as e:
            wrong.append(f"{' '.join(words)}: {e}")
        except Exception as e:  # typer's own click has its errors in a private module
            wrong.append(f"{' '.join(words)}: {getattr(e, 'message', e)}")
    return wrong


def check_line(words: list[str]) -> None:
    """Check a command of this package, of pip or of make; of other programs, that they are known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if words[0] == PROGRAM:
        check_command(words)
    elif "pip" in words or words[0] == "pip":
        extras = set(re.findall(r"\[([\w,]+)\]", words[-1]))
        assert {e for names in extras for e in names.split(",")} <= set(project["optional-dependencies"])
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), "no such target"
    elif words[0] == ".venv/bin/python":
        assert all((ROOT / w).exists() for w in words if w.endswith(".py"))
    else:
        assert words[0] in OTHER_PROGRAMS, f"{words[0]} is not known"


def test_languages_of_blocks_are_known():
    assert {b.language for b in all_blocks()} <= {"", "bash", "python", *NO_CODE}


@pytest.mark.parametrize("block", SHELL, ids=named)
def test_commands_parse(block):
    assert wrong_commands(block) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_the_text_parse(page):
    lines = [" ".join(words) for words in inline_commands(page.read_text(encoding="utf-8"))]
    assert wrong_commands(Block(page.name, "", "\n".join(lines))) == []


@pytest.mark.parametrize(
    "line",
    [
        "dedl-fastai segment --data FOLDER",
        "dedl-fastai predict nuclei FOLDER --colour blue",
        "dedl-fastai seg --data FOLDER --preset quick",
        "dedl-fastai seg --epochs many",
        "dedl-fastai predict nuclei FOLDER --write excel",
        "dedl-fastai export --format onnx",
        "dedl-fastai bench run table99",
        "dedl-fastai doctor twice",
        'pip install "dedl-fastai[nothing]"',
        "make coffee",
        "unknown-program --help",
    ],
)
def test_a_wrong_command_is_found(line):
    assert len(wrong_commands(blocks_of(f"```\n{line}\n```\n", "page")[0])) == 1


def unknown_names(block: Block) -> set[str]:
    """Names that a block uses and neither defines nor imports."""
    tree = ast.parse(block.text)
    stars = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    known = {*dir(builtins), *BY_READER, *(name for module in stars for name in dir(importlib.import_module(module)))}
    stored, loaded = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            stored.add(node.name)
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            stored |= {a.asname or a.name for a in node.names}
    return loaded - stored - known


def missing_imports(block: Block) -> list[str]:
    """Names that a block imports from modules that do not have them."""
    missing = []
    for node in ast.walk(ast.parse(block.text)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)]
        for name in modules if isinstance(node, ast.Import | ast.ImportFrom) else []:
            if name not in OPTIONAL or importlib.util.find_spec(name):
                module = importlib.import_module(name)
                wanted = [a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
                missing += [f"{name}.{w}" for w in wanted if w != "*" and not hasattr(module, w)]
    return missing


@pytest.fixture(scope="module")
def notebook_namespace():
    """`from dedl_fastai.all import *`, where a block that goes on from another does not repeat it."""
    import dedl_fastai.all

    return set(dir(dedl_fastai.all))


@pytest.mark.parametrize("block", PYTHON, ids=named)
def test_python_compiles_and_its_names_exist(block, notebook_namespace):
    compile(block.text, block.page, "exec")
    assert missing_imports(block) == []
    assert unknown_names(block) - notebook_namespace == set()


def test_every_python_block_is_run_or_has_a_reason_why_not():
    assert sorted(b.first_line for b in PYTHON) == sorted([*RUN, *NOT_RUN])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_folder) -> Path:
    """A folder with the files that the blocks open."""
    folder = tmp_path_factory.mktemp("blocks")
    shutil.copy(Cohort.load(tiny_folder).table.image[0], folder / "field_component_data.tif")
    planes = {"DAPI": np.zeros((512, 520), np.float32), "CXCR3 (Opal 520)": np.ones((512, 520), np.float32)}
    thumbnail, colors = np.zeros((128, 130, 3), np.uint8), [(0, 0, 255), (0, 255, 0)]
    file = folder / "sample_[7559,39143]_component_data.tif"
    write_component_tiff(file, planes, colors, thumbnail=thumbnail, pixel_size_um=0.5)
    return folder


@pytest.mark.parametrize("block", [b for b in PYTHON if b.first_line in RUN], ids=named)
def test_python_runs(block, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(block.text, block.page, "exec"), {})
