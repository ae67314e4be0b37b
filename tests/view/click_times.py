"""Seconds from a click on a field to its picture, and memory of the server: `python -m tests.view.click_times RESULTS`.

The server and a headless Chromium run on this machine. Fields are opened from the last of the gallery to the first, so
that nothing has opened them before; then again in a new server, after the pointer rested on the row for a second.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from .chromium import Server, launched

SIZE = {"width": 1100, "height": 760}
REST_MS = 1000
WAIT_MS = 120_000


def resources(pid: int) -> tuple[float, float]:
    """Processor time in seconds and peak of the resident memory in GB of a process, on Linux."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return sum(map(int, ticks)) / 100, peak / 1e6


def open_fields(browser: Any, folder: Path, rest_ms: int) -> None:
    """Open each field and print the times."""
    server = Server(folder)
    tab = browser.new_page(viewport=SIZE)
    tab.goto(server.address)
    tab.locator("tbody tr").first.wait_for()
    tab.wait_for_load_state("networkidle")
    tab.wait_for_timeout(2000)
    seconds = []
    for place in reversed(range(tab.locator("tbody tr").count())):
        row = tab.locator("tbody tr").nth(place)
        if rest_ms:
            row.hover()
            tab.wait_for_timeout(rest_ms)
        before, started = resources(server.process.pid)[0], time.perf_counter()
        row.click()
        tab.wait_for_selector(".field[data-ready]", timeout=WAIT_MS)
        wall = time.perf_counter() - started
        shown = int(tab.get_attribute(".field", "data-ready")) / 1000
        used = resources(server.process.pid)[0] - before
        seconds.append(shown)
        sys.stdout.write(f"  {shown:.2f} s to the picture ({wall:.2f} s with the driver), server {used:.2f} s\n")
        tab.click(".back")
        tab.locator("tbody tr").first.wait_for()
    how = f"after {rest_ms / 1000:.0f} s on the row" if rest_ms else "at once"
    peak = resources(server.process.pid)[1]
    sys.stdout.write(f"{how}: median {statistics.median(seconds):.2f} s, server at most {peak:.2f} GB\n")
    tab.close()
    server.stop()


if __name__ == "__main__":
    with launched() as chromium:
        for rest in (0, REST_MS):
            open_fields(chromium, Path(sys.argv[1]), rest)
