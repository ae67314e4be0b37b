"""`histogram_svg`: bars with two axes as SVG, for a page; importing a plotting library would take longer than that."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 750, 260, 70, 50, 14
_TICK = 10  # every tenth bin has a number


def histogram_svg(counts: Sequence[int], step: float, x_label: str, y_label: str) -> str:
    """Return an <svg> of the counts in bins of width `step` that begin at 0."""
    width = (_WIDTH - _LEFT - 10) / max(1, len(counts))
    floor = _HEIGHT - _BOTTOM
    most = max([1, *map(int, counts)])
    bars = []
    for i, n in enumerate(map(int, counts)):
        height = n / most * (floor - _TOP)
        place = f'x="{_LEFT + i * width:.1f}" y="{floor - height:.1f}" width="{0.9 * width:.1f}" height="{height:.1f}"'
        bars.append(f"<rect {place}><title>{i * step:g}: {n}</title></rect>")
    ticks = [_text(_LEFT + i * width, floor + 18, f"{i * step:g}") for i in range(0, len(counts) + 1, _TICK)]
    ticks += [_text(_LEFT - 8, floor, "0", "end"), _text(_LEFT - 8, _TOP + 6, str(most), "end")]
    labels = [_text((_LEFT + _WIDTH) / 2, _HEIGHT - 8, x_label), _text(_LEFT - 8, (_TOP + floor) / 2, y_label, "end")]
    return (
        f'<svg class="plot" role="img" aria-label="histogram: {escape(x_label)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" font-size="13"><g fill="#4c78a8">{"".join(bars)}</g>'
        f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - 10}" fill="none" stroke="#57606a"/>{"".join(ticks + labels)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
