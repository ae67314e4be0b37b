"""The pictures of the pages in docs/images, drawn again: `make pictures`, or `python -m tests.view.pictures FOLDER`.

They show synthetic fields, predicted by the model that comes with the package, in a headless Chromium.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .chromium import Server, launched

SIZE = {"width": 1280, "height": 720}
COMMANDS = (
    "data demo fields --fields 6 --patients 6 --size 1408x1876 --seed 3",
    "predict nuclei fields --out results --rules tfh5 --suggest 6 --write all",
    "gate results --rules tfh5 --out gates.json",
)


def dedl(command: str, folder: Path) -> None:
    """Run a command of `dedl-fastai` in a folder."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", "dedl_fastai.cli", *command.split()], cwd=folder, check=True)


def show_gallery(tab: Any, address: str) -> None:
    """Open the list of fields and regions."""
    tab.goto(address)
    tab.locator(".regions a").first.wait_for()
    tab.wait_for_load_state("networkidle")


def correct(tab: Any, address: str) -> None:
    """Open the first suggested region, zoom in, and select the nucleus in the middle."""
    show_gallery(tab, address)
    tab.locator(".regions a").first.click()
    tab.wait_for_selector(".field[data-ready]")
    tab.wait_for_timeout(1500)
    box = tab.locator(".viewer").bounding_box()
    for dx, dy in ((0, 0), (30, 0), (0, 30), (-30, 0), (0, -30), (60, 40), (-60, -40)):
        tab.mouse.click(box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy)
        tab.wait_for_timeout(800)
        if "area" in tab.inner_text(".cell"):
            break
    tab.wait_for_load_state("networkidle")


def gate(tab: Any, address: str) -> None:
    """Show the cut-off of a marker in the region."""
    correct(tab, address)
    tab.select_option(".marker", "CD19")
    tab.wait_for_selector(".positive:has-text('Above')")
    tab.wait_for_timeout(1500)


def picture(browser: Any, path: Path, show: Callable[[Any], None], size: dict[str, int] = SIZE) -> None:
    """Write what a page shows as a PNG."""
    tab = browser.new_page(viewport=size)
    show(tab)
    tab.screenshot(path=path)
    tab.close()


def main(out: Path) -> None:
    """Write all pictures into a folder."""
    with TemporaryDirectory() as place, launched() as browser:
        folder = Path(place)
        for command in COMMANDS:
            dedl(command, folder)
        server = Server(folder / "results")
        for name, show in (("gallery", show_gallery), ("correct", correct), ("gate", gate)):
            picture(browser, out / f"view_{name}.png", lambda tab, show=show: show(tab, server.address))
        server.stop()
        address = (folder / "gates.html").as_uri()
        picture(browser, out / "gates.png", lambda tab: tab.goto(address), {"width": 1000, "height": 1200})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
