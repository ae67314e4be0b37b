"""Options as frozen dataclasses: default, help and presets in one place. Imports the standard library alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ...errors import UserError

T = TypeVar("T", bound="Options")


def option(default: Any, help: str, topic: str, flag: str = "", **metadata: Any) -> Any:
    """A field of an `Options` class. `flag` is its name on the command line if that is not the field's."""
    return dataclasses.field(default=default, metadata={"help": help, "topic": topic, "flag": flag, **metadata})


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of a command's options. Defaults are those of preset `paper`; `presets` holds what the others change."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}}
    topics: ClassVar[tuple[str, ...]] = ()  # in the order of the help

    @classmethod
    def resolve(cls: type[T], given: Mapping[str, Any]) -> T:
        """Options from what a user gave (name -> value): the preset over the defaults, the given over the preset."""
        unknown = sorted(set(given) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r}.")
        preset = given.get("preset", cls.default_of("preset"))
        if preset not in cls.presets:
            raise UserError(f"preset={preset!r} is unknown; it may be {', '.join(cls.presets)}.")
        return cls(**{**cls.presets[preset], **given})

    @classmethod
    def default_of(cls, name: str, preset: str = "paper") -> Any:
        """The value of an option that was not given."""
        defaults = {f.name: f.default for f in dataclasses.fields(cls)}
        return cls.presets[preset].get(name, defaults[name])

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[T], value: Mapping[str, Any]) -> T:
        """From config.json; options that this version does not know are an error, new ones take their default."""
        return cls.resolve(value)

    def differences(self, given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Given options that differ from these: name -> (here, given)."""
        return {k: (getattr(self, k), v) for k, v in given.items() if getattr(self, k) != v}


def flag_of(field: dataclasses.Field) -> str:
    """How a field is written on the command line."""
    return "--" + (field.metadata["flag"] or field.name.replace("_", "-"))


def numbers(text: str, name: str, number: type = int) -> tuple:
    """ "256,128,64" as a tuple of numbers; `UserError` naming the argument otherwise."""
    try:
        return tuple(number(part) for part in text.split(",") if part.strip())
    except ValueError as e:
        raise UserError(f"{name}={text!r}: numbers separated by commas are needed.") from e


def two_percentiles(text: str) -> tuple[float, float]:
    """ "1,99.8" as two numbers."""
    values = numbers(text, "percentiles", float)
    if len(values) != 2:
        raise UserError(f"percentiles={text!r}: two numbers are needed, such as 1,99.8.")
    return values


def check_positive(options: Options, *names: str) -> None:
    """Raise a `UserError` for an option among `names` that is not above zero."""
    for name in names:
        if not getattr(options, name) > 0:
            raise UserError(f"{name}={getattr(options, name)}: a number above 0 is needed.")


def check_not_negative(options: Options, *names: str) -> None:
    """Raise a `UserError` for an option among `names` that is below zero."""
    for name in names:
        if getattr(options, name) < 0:
            raise UserError(f"{name}={getattr(options, name)}: it cannot be negative.")
