"""`Records`: the records of the fields of a folder of results, which other commands may change meanwhile."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..predict.record import Record, read_record, read_records, record_file
from .stamps import stamp_of


class Records(Mapping[str, Record]):
    """The record of each finished field, by its name; it is read again when its file was written since."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._stamps = {path.stem: stamp_of(path) for path in (folder / "fields").glob("*.json")}
        self._records = {str(r["field"]): r for r in read_records(folder)}

    def __getitem__(self, name: str) -> Record:
        known = self._records[name]
        path = record_file(self.folder, name)
        stamp = stamp_of(path)
        if stamp is None or stamp == self._stamps.get(name):
            return known
        self._records[name] = read_record(path)
        self._stamps[name] = stamp
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)
