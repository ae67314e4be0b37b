"""The parts of a JPEG file: its header, and its scans, the stretches of coded pixels between two markers."""

import re
from dataclasses import dataclass, field
from math import ceil, prod

SEQUENTIAL = (0xC0, 0xC1)  # frames of 8 and 12 bits, with Huffman codes
PROGRESSIVE = 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_CONTENT = {0x01, *range(0xD0, 0xD9)}
_AFTER_A_SCAN = {0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}
_END_OF_SCAN = re.compile(rb"\xff+[^\0\xff\xd0-\xd7]", re.DOTALL)  # a marker, no stuffed 0xff and no restart


@dataclass
class Scan:
    """Coded pixels, from one place in the file to another."""

    start: int
    end: int
    coefficients: tuple[int, int]  # the first and the last one that it holds; 0 is the mean of a block
    zero_codes: list[int]  # of each component, the symbol whose code is all zeros: 0 ends a block
    n_units: int  # blocks of one component, or groups of blocks of several; 0 if not known


@dataclass
class JpegData:
    """The parts of a JPEG file, or of a tile of a TIFF; `tables` is the part that the TIFF's tiles share."""

    data: bytes
    tables: bytes = b""
    frame: int = 0  # marker of the kind of coding
    interval: int = 0  # units of pixels between two restart markers, 0 without them
    scans: list[Scan] = field(default_factory=list)
    stray: int = 0  # a marker after a scan that has no place there, 0 if there is none
    has_bad_header: bool = False  # a symbol with two codes, steps of 0 between values, or other bytes between parts

    def __post_init__(self) -> None:
        self._size = (0, 0)  # (H, W)
        self._sampling: dict[int, tuple[int, int]] = {}  # component -> vertical and horizontal factor
        self._zero_codes: dict[int, int] = {}  # AC table -> symbol
        self._parse(self.tables)
        self._parse(self.data)

    def _parse(self, data: bytes) -> None:
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
            marker, at = data[at + 1], at + 2
            if marker == 0xFF:  # a fill byte
                at -= 1
            elif marker not in _WITHOUT_CONTENT:
                end = at + int.from_bytes(data[at : at + 2], "big")
                at = self._take(marker, data[at + 2 : end], data, end)
        self.has_bad_header |= at < len(data) and data[at] != 0xFF

    def _take(self, marker: int, part: bytes, data: bytes, end: int) -> int:
        """Note what a part says, and return where the next one begins."""
        if marker == 0xC4:
            self._take_codes(part)
        elif marker == 0xDB:
            self._take_steps(part)
        elif marker == 0xDD:
            self.interval = int.from_bytes(part[:2], "big")
        elif marker in _FRAMES:
            self.frame = marker
            self._size = int.from_bytes(part[1:3], "big"), int.from_bytes(part[3:5], "big")
            components = [part[i : i + 2] for i in range(6, len(part) - 2, 3)]
            self._sampling = {number: (factors & 15, factors >> 4) for number, factors in components}
        elif marker == 0xDA and len(part) > 3:
            return self._take_scan(part, data, end)
        return end

    def _take_codes(self, part: bytes) -> None:
        while len(part) > 17:
            n = sum(part[1:17])
            symbols = part[17 : 17 + n]
            self.has_bad_header |= len(set(symbols)) < n
            if part[0] >> 4:
                self._zero_codes[part[0] & 15] = part[17]  # the first symbol: codes are in ascending order
            part = part[17 + n :]

    def _take_steps(self, part: bytes) -> None:
        while part:
            size = 2 if part[0] >> 4 else 1
            steps = [part[i : i + size] for i in range(1, 1 + 64 * size, size)]
            self.has_bad_header |= not all(any(step) for step in steps)
            part = part[1 + 64 * size :]

    def _take_scan(self, part: bytes, data: bytes, start: int) -> int:
        found = _END_OF_SCAN.search(data, start)
        end = found.start() if found else len(data)
        components = [part[i : i + 2] for i in range(1, len(part) - 4, 2)]
        codes = [self._zero_codes.get(tables & 15, 0) for _, tables in components]
        n_units = self._count_units([number for number, _ in components])
        self.scans.append(Scan(start, end, coefficients=(part[-3], part[-2]), zero_codes=codes, n_units=n_units))
        if found and data[found.end() - 1] not in _AFTER_A_SCAN:
            self.stray = data[found.end() - 1]
        return end

    def _count_units(self, components: list[int]) -> int:
        known = all(self._size) and components and all(min(self._sampling.get(c, (0, 0))) > 0 for c in components)
        if not known:
            return 0
        largest = [max(factors[axis] for factors in self._sampling.values()) for axis in (0, 1)]
        if len(components) > 1:
            return prod(ceil(n / m / 8) for n, m in zip(self._size, largest, strict=True))
        own = self._sampling[components[0]]
        return prod(ceil(ceil(n * s / m) / 8) for n, s, m in zip(self._size, own, largest, strict=True))
