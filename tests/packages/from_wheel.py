"""Installs the wheel in a new environment, uses it in an empty folder, and has every kind of its files read back.

`python tests/packages/from_wheel.py [--folder NEW] [--fields FOLDER --rules FILE]`, or `make read-back`: builds sdist
and wheel, installs the wheel with the extras that write files and the libraries that read them, and runs, outside the
checkout: the demo with few epochs, `predict` with every kind of `--write` on two synthetic fields (or those of
`--fields`), `export --format bioimageio`, the archive's own test, and `read_back.py`, napari only where there is a
display or xvfb-run. Every command is printed with its time; the first that fails ends it.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXTRAS = "imagej,spatial,tables,bioimageio"
LIBRARIES = ("squidpy", "ome-zarr", "geopandas", "napari-spatialdata", "pyqt6")
EPOCHS = ("--epochs", "4")  # of 20: the files are looked at, not the scores
CREDITS = ("--author", "Nobody", "--license", "CC-BY-4.0")


class Place:
    """A folder with an environment and an empty folder, in which commands run without what this process has."""

    def __init__(self, folder: Path):
        self.folder, self.empty, self.bin = folder, folder / "empty", folder / "env" / "bin"
        self.empty.mkdir(parents=True)
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
        self.environment = {k: v for k, v in os.environ.items() if k not in hidden}
        self.environment |= {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
        self.environment |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "DEDL_CACHE": str(folder / "cache")}

    def run(self, program: str | Path, *args: str | Path) -> None:
        """Run a program in the empty folder. Raises `subprocess.CalledProcessError` if it fails."""
        words, started = [str(program), *map(str, args)], time.perf_counter()
        sys.stdout.write(f"$ {shlex.join(words)}\n")
        sys.stdout.flush()
        subprocess.run(words, cwd=self.empty, env=self.environment, check=True, stdin=subprocess.DEVNULL)
        sys.stdout.write(f"# {time.perf_counter() - started:.1f} s\n")

    def python(self, *args: str | Path) -> None:
        """Run the Python of the environment."""
        self.run(self.bin / "python", *args)


def install(place: Place) -> None:
    """Build sdist and wheel, and install the wheel with what writes and reads files."""
    place.run(sys.executable, "-m", "venv", place.folder / "env")
    place.python("-m", "pip", "install", "--quiet", "build")
    place.python("-m", "build", "--outdir", place.folder / "dist", ROOT)
    (wheel,) = (place.folder / "dist").glob("*.whl")
    place.python("-m", "pip", "install", "--quiet", f"{wheel}[{EXTRAS}]")
    place.python("-m", "pip", "install", "--quiet", *LIBRARIES)
    place.python("-c", f"import dedl_fastai; assert not dedl_fastai.__file__.startswith({str(ROOT)!r})")


def use(place: Place, fields: str, rules: str) -> None:
    """Run the demo, predict with every kind, export, and read back."""
    place.run("dedl-fastai", "seg", "--arch", "unet", "--encoder", "efficientnet-b0", *EPOCHS, "--out", "runs/demo")
    if not fields:
        place.run("dedl-fastai", "data", "demo", "fields", "--fields", "2", "--patients", "2")
    for run in ("runs/demo", "nuclei"):
        kinds = ("--out", results_of(run), "--rules", rules, "--write", "all,geojson.gz")
        place.run("dedl-fastai", "predict", run, fields or "fields", *kinds)
    place.run("dedl-fastai", "export", "runs/demo", "--format", "bioimageio", *CREDITS)
    package = "runs/demo/export/model.bioimageio.zip"
    place.run("bioimageio", "test", package)
    display = [] if os.environ.get("DISPLAY") else ["xvfb-run", "-a"]
    without = [] if not display or shutil.which(display[0]) else ["--without-napari"]
    for run in ("runs/demo", "nuclei"):
        words = [place.bin / "python", HERE / "read_back.py", results_of(run), package, *without]
        place.run(*(words if without else [*display, *words]))


def results_of(run: str) -> str:
    """Return the folder of the predictions of a run."""
    return f"results_{Path(run).name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="new folder for environment and results (default: a temporary one, kept)")
    parser.add_argument("--fields", default="", help="folder of fields to predict (default: two synthetic ones)")
    parser.add_argument("--rules", default="tfh5", help="rules for these fields (default: tfh5)")
    given = parser.parse_args()
    place = Place(Path(given.folder or tempfile.mkdtemp(prefix="dedl-wheel-")).resolve())
    install(place)
    rules = str(Path(given.rules).resolve()) if Path(given.rules).is_file() else given.rules
    use(place, str(Path(given.fields).resolve()) if given.fields else "", rules)


if __name__ == "__main__":
    main()
