"""`run_name`: the name of a run's folder, which is determined by the options and the data that decide its result."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# Increased when the same options lead to another model: results of older code are then not taken for today's.
_RECIPE = 3
# These options do not change a run's result, or do so through the split, which is part of the data's fingerprint.
_NOT_HASHED = (
    *("preset", "data", "split", "splits", "patient", "limit_fields"),
    *("folds", "test_folds", "seed", "seeds", "log"),
)
_FILES = ("weights", "rules")  # options that may name a file (or a run): its content counts, not its path
PLACES = ("workers", "device")  # options that say where a run is carried out
_NAMED = ("arch", "encoder", "model", "app")  # options that make a folder's name readable


def run_name(task: str, options: Mapping[str, Any], seed: int, fold: int | None, fingerprint: str) -> str:
    """Name of a run's folder: its network and seed, and a hash of everything that decides its result.

    The content of the data counts; the path of the data, the device and the number of workers do not.
    """
    digest = _hash([_RECIPE, task, _hashed_options(options), seed, fingerprint])
    parts = [task, *(str(options[n]) for n in _NAMED if options.get(n, "none") != "none"), f"s{seed}"]
    parts += [] if fold is None else [f"f{fold}"]
    readable = "-".join(p.replace("/", "_").replace(":", "_") for p in parts)
    return f"{readable}-{digest}"


def settings_hash(task: str, options: Mapping[str, Any], fingerprint: str) -> str:
    """Hash of everything but the seed: runs of one fold with different hashes have other data or other settings."""
    return _hash([task, _hashed_options(options), fingerprint])


def canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options without those that others leave unused, so that equal trainings have equal options."""
    unused: tuple[str, ...] = ()
    if given.get("app", "none") == "none":
        unused = tuple(name for name in given if name.startswith("app_"))
    elif given.get("app_released"):
        unused = ("app_weight", "app_target", "app_rows", "app_loss")
    elif given.get("app_weight", "auto") != "auto":
        unused = ("app_target",)
    return {k: v for k, v in given.items() if k not in unused}


def absolute(name: str, value: Any) -> Any:
    """Return the value of an option; the path of a file or run is absolute, as a worker may run in another folder."""
    return str(Path(value).expanduser().resolve()) if _file_of(name, value) else value


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _hashed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that decide a result, with a digest in place of each file."""
    return {k: _with_content(k, v) for k, v in options.items() if k not in (*_NOT_HASHED, *PLACES)}


def _file_of(name: str, value: Any) -> Path | None:
    """The file that an option names, if it names one; the best weights of a run folder."""
    if name not in (*_FILES, "splits") or not value:
        return None
    path = Path(value).expanduser()
    path = path / "best.safetensors" if name == "weights" and path.is_dir() else path
    return path if path.is_file() else None


def _with_content(name: str, value: Any) -> Any:
    path = _file_of(name, value)
    return value if path is None else _digest(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=32)
def _digest(path: Path, changed: int, size: int) -> str:
    """Digest of a file; cached by time and size, as weights are large and many runs of a grid begin with the same."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
