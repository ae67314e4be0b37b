"""`Options`: base class of options, with defaults, help and presets, and checks. Imports only the standard library."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ...errors import UserError

T = TypeVar("T", bound="Options")


def option(default: Any, help: str, topic: str, flag: str = "", **metadata: Any) -> Any:
    """Return a field of an `Options` class. `flag` is its name on the command line if it differs.

    Metadata: `parse` reads the text of the command line; `formerly` is an earlier name, which is still accepted; `more`
    names the option that takes further values if the flag is repeated, `repeats=True` is for an option that takes all
    of them, and `own=False` for one without a flag.
    """
    return dataclasses.field(default=default, metadata={"help": help, "topic": topic, "flag": flag, **metadata})


@dataclasses.dataclass(frozen=True)
class Options:
    """Base class of a command's options. The defaults are preset `paper`; `presets` lists what other presets change."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}}
    topics: ClassVar[tuple[str, ...]] = ()  # of the help, in this order

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{name}={value}: give a finite number.")

    @classmethod
    def resolve(cls: type[T], given: Mapping[str, Any]) -> T:
        """Return options from given values (name -> value): they override the preset, which overrides the defaults."""
        given = cls._with_present_names(given)
        unknown = sorted(set(given) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r}.")
        preset = given.get("preset", cls.default_of("preset"))
        if preset not in cls.presets:
            raise UserError(f"preset={preset!r} is unknown; it may be {', '.join(cls.presets)}.")
        return cls(**{**cls.presets[preset], **given})

    @classmethod
    def _with_present_names(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        present = {f.metadata["formerly"]: f.name for f in dataclasses.fields(cls) if "formerly" in f.metadata}
        if twice := [old for old, new in present.items() if old in given and new in given]:
            raise UserError(f"`{twice[0]}` is the earlier name of `{present[twice[0]]}`: give one of them.")
        return {present.get(name, name): value for name, value in given.items()}

    @classmethod
    def default_of(cls, name: str, preset: str = "paper") -> Any:
        """Return the value of an option that is not given."""
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
        return cls.presets[preset].get(name, defaults[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the options as config.json stores them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[T], value: Mapping[str, Any]) -> T:
        """Return the options that config.json stores. Unknown options are an error; missing ones take their default."""
        return cls.resolve(value)

    def differences(self, given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return the given options that differ from these: name -> (value here, given value)."""
        return {k: (getattr(self, k), v) for k, v in given.items() if getattr(self, k) != v}


def flag_of(field: dataclasses.Field) -> str:
    """Return the flag of a field on the command line."""
    return "--" + (field.metadata["flag"] or field.name.replace("_", "-"))


def numbers(text: str, name: str, number: type = int) -> tuple:
    """Return "256,128,64" as a tuple of numbers. Raise a `UserError` that names the argument for other text."""
    try:
        return tuple(number(part) for part in text.split(",") if part.strip())
    except ValueError as e:
        raise UserError(f"{name}={text!r}: give numbers separated by commas.") from e


def two_percentiles(text: str) -> tuple[float, float]:
    """Return "1,99.8" as two numbers."""
    values = numbers(text, "percentiles", float)
    if len(values) != 2:
        raise UserError(f"percentiles={text!r}: give two numbers, such as 1,99.8.")
    return values


def check_positive(options: Options, *names: str) -> None:
    """Raise a `UserError` if an option among `names` is not above zero."""
    for name in names:
        if not getattr(options, name) > 0:
            raise UserError(f"{name}={getattr(options, name)}: give a number above 0.")


def check_not_negative(options: Options, *names: str) -> None:
    """Raise a `UserError` if an option among `names` is below zero."""
    for name in names:
        if getattr(options, name) < 0:
            raise UserError(f"{name}={getattr(options, name)}: it cannot be negative.")
