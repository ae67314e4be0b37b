"""The page in a real browser: Debian's Chromium, headless, driven by playwright; the server is a process of its own."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.io.corrections import checked_mask
from dedl_fastai.predict.corrections import corrected_labels, read_actions
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..cli.results import dedl
from ..options import TINY
from .chromium import CHROMIUM, Server, launched
from .results_folder import NAMES, SHAPE, centre, write_results

pytest.importorskip("uvicorn", reason="the extra view is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]
WAIT_MS = 60_000


class Page:
    """The page of the first field, and what a user does with it. Places are pixels (x, y) of the field."""

    def __init__(self, page, address):
        self.page = page
        self.errors = []
        page.on("pageerror", lambda error: self.errors.append(error))
        page.goto(address)
        page.click(f'tr[data-field="{NAMES[0]}"]')
        page.wait_for_selector(".field[data-ready]", timeout=WAIT_MS)
        page.wait_for_timeout(300)

    @property
    def revision(self):
        return int(self.page.get_attribute(".field", "data-revision"))

    def screen(self, place):
        """The position of a pixel on the screen; the whole field is in view, in the middle."""
        box = self.page.locator(".viewer").bounding_box()
        scale = min(box["width"] / SHAPE[1], box["height"] / SHAPE[0])
        return (
            box["x"] + box["width"] / 2 + (place[0] - SHAPE[1] / 2) * scale,
            box["y"] + box["height"] / 2 + (place[1] - SHAPE[0] / 2) * scale,
        )

    def click(self, place, *keys):
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self.screen(place))
        for key in keys:
            self.page.keyboard.up(key)
        self.page.wait_for_timeout(600)  # two clicks at once would be a double click

    def drag(self, *places):
        self.page.mouse.move(*self.screen(places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.screen(place), steps=4)
        self.page.mouse.up()

    def becomes(self, revision):
        """Wait for a revision."""
        self.page.wait_for_selector(f'.field[data-revision="{revision}"]', timeout=WAIT_MS)

    def pixel(self, place):
        """The colour (r, g, b) of the picture at a place, without the marks over it."""
        return self.page.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector(".picture canvas");
                const box = canvas.getBoundingClientRect();
                const scale = canvas.width / box.width;
                const data = canvas.getContext("2d").getImageData((x - box.x) * scale, (y - box.y) * scale, 1, 1).data;
                return [...data].slice(0, 3);
            }""",
            list(self.screen(place)),
        )

    def until(self, condition):
        """Wait until a condition holds."""
        for _ in range(200):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("it did not happen")


@pytest.fixture(scope="module")
def browser():
    with launched() as chromium:
        yield chromium


@pytest.fixture
def serve():
    """A function that starts a server; those that a failed test leaves are killed."""
    servers = []

    def start(folder):
        servers.append(Server(folder))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("browser") / "res")


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    """A tiny model, which is to learn from the corrections."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder)}), folder)
    return folder


def test_look_correct_be_killed_go_on_and_train_again(browser, folder, serve, run, tiny_folder):
    server = serve(folder)
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    page = Page(tab, server.address)

    # a channel is switched off and on
    inside = centre(5)
    assert page.pixel(inside)[1] > 200
    tab.uncheck('[data-layer="CD8"] input[type="checkbox"]')
    page.until(lambda: page.pixel(inside)[1] < 150)
    tab.check('[data-layer="CD8"] input[type="checkbox"]')
    page.until(lambda: page.pixel(inside)[1] > 200)

    # a click shows the row of the cell
    page.click(centre(5))
    assert "Cell CD8 mean" in tab.inner_text(".cell") and "16" in tab.inner_text(".cell")

    # delete, merge, split, draw
    page.click(centre(1))
    tab.keyboard.press("Delete")
    page.becomes(1)
    page.click(centre(3))
    page.click(centre(4), "Shift")
    tab.click('[data-do="merge"]')
    page.becomes(2)
    tab.click('[data-tool="split"]')
    x, y = centre(2)
    page.drag((x - 30, y), (x + 30, y))
    page.becomes(3)
    tab.click('[data-tool="draw"]')
    page.drag((600, 100), (650, 100), (650, 150), (600, 150))
    page.becomes(4)
    actions = read_actions(folder, NAMES[0])
    assert [a.action for a in actions] == ["delete", "merge", "split", "draw"]
    assert [a.labels for a in actions] == [(1,), (3, 4), (2, 6), (7,)]

    # kill the server in the middle: the page says so, and nothing is lost
    server.kill()
    tab.keyboard.press("Control+z")
    tab.wait_for_selector("#message:not([hidden])", timeout=WAIT_MS)
    assert "saved" in tab.inner_text("#message")
    assert len(read_actions(folder, NAMES[0])) == 4 and page.errors == []
    tab.close()

    server = serve(folder)
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    page = Page(tab, server.address)
    assert page.revision == 4
    tab.keyboard.press("Control+z")
    page.becomes(5)
    tab.keyboard.press("Control+y")
    page.becomes(6)
    tab.click('[data-do="undo"]')
    page.becomes(7)
    page.click(centre(5))
    tab.select_option(".type", "t")
    page.becomes(8)
    tab.click('[data-tool="region"]')
    page.drag((300, 300), (400, 300), (400, 400), (300, 400))
    page.becomes(9)
    assert page.errors == []
    tab.close()
    assert server.stop() == 0
    labels = corrected_labels(folder, NAMES[0])
    assert set(np.unique(labels)) == {0, 2, 3, 5, 6}
    assert abs(int(checked_mask(read_actions(folder, NAMES[0]), SHAPE).sum()) - 10_000) < 800

    # the model learns from the region that was checked
    again = run.parent / "again"
    done = dedl("seg", "--data", folder, "--data", tiny_folder, "--weights", run, "--epochs", 1, "--out", again)
    assert done.exit_code == 0, done.output
    fields = json.loads((again / "splits.json").read_text())["fields"]
    assert fields[NAMES[0]]["split"] == "train" and NAMES[1] not in fields
    assert json.loads((again / "metrics.json").read_text())["before"]["weights"] == str(run)


def test_zoom_cut_offs_and_a_second_page(browser, folder, serve):
    server = serve(folder)
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    page = Page(tab, server.address)
    bar = tab.get_attribute(".scale", "style")
    tab.mouse.move(*page.screen(centre(5)))
    tab.mouse.wheel(0, -600)
    page.until(lambda: tab.get_attribute(".scale", "style") != bar)

    # a cut-off is moved: the count of positive cells changes, and it is saved
    tab.select_option(".marker", "CD8")
    tab.wait_for_selector(".positive:has-text('Above')", timeout=WAIT_MS)
    before = tab.inner_text(".positive")
    tab.locator(".cut").fill("800")
    page.until(lambda: tab.inner_text(".positive") != before)
    assert "1 of 5 cells here" in tab.inner_text(".positive")
    tab.click(".save")
    page.until(lambda: (folder / "corrections" / "gates.json").is_file())

    # a page that is behind is refused with a sentence, and shows what the other one did
    other = browser.new_page(viewport={"width": 1100, "height": 760})
    second = Page(other, server.address)
    revision = second.revision
    other.check(".checked")
    second.becomes(revision + 1)
    tab.keyboard.press("Control+z")
    tab.wait_for_selector("#message:not([hidden])", timeout=WAIT_MS)
    assert "another page" in tab.inner_text("#message")
    page.becomes(revision + 1)
    assert tab.is_checked(".checked") and page.errors == [] == second.errors


def test_undecided_cells_are_listed_and_tables_follow_the_corrections(browser, serve, tmp_path):
    folder = write_results(tmp_path / "res")
    table = pd.read_csv(folder / f"{NAMES[0]}_cells.csv")
    table.assign(phenotype_probability=[0.9, 0.5, 0.7, 0.4, 0.8]).to_csv(folder / f"{NAMES[0]}_cells.csv", index=False)
    server = serve(folder)
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    page = Page(tab, server.address)

    # the cells next to the cut-off; a click shows one in the middle and selects it
    listed = tab.locator(".unsure button")
    tab.select_option(".marker", "CD8")
    tab.locator(".cut").fill("600")  # of 1000 on the slider, which ends are 1 and 16
    page.until(lambda: "Above 5.2" in tab.inner_text(".positive"))
    page.until(lambda: listed.all_inner_texts()[:2] == ["4.00", "8.00"])
    assert "Next to the cut-off" in tab.inner_text(".unsure") and listed.count() == 5
    bar = tab.get_attribute(".scale", "style")
    listed.first.click()
    page.until(lambda: re.search(r"nucleus\s+3\b", tab.inner_text(".cell")))
    page.until(lambda: tab.get_attribute(".scale", "style") != bar)

    # those with the least probable types
    tab.select_option(".marker", label="types: the least probable")
    page.until(lambda: listed.all_inner_texts() == ["0.400", "0.500", "0.700", "0.800", "0.900"])
    listed.first.click()
    page.until(lambda: re.search(r"nucleus\s+4\b", tab.inner_text(".cell")))

    # the button of the gallery lets counts and tables follow a correction
    tab.keyboard.press("Delete")
    page.becomes(1)
    tab.click(".back")
    button = tab.locator(".gallery button.correct")
    button.wait_for(timeout=WAIT_MS)
    assert button.inner_text() == "update tables (1 behind their corrections)"
    nuclei = tab.locator(f'tr[data-field="{NAMES[0]}"] td').nth(2)
    assert nuclei.inner_text() == "5"
    button.click()
    button.wait_for(state="hidden", timeout=WAIT_MS)
    assert nuclei.inner_text() == "4" and "9 nuclei" in tab.inner_text("h1") and page.errors == []
    assert list(pd.read_csv(folder / f"{NAMES[0]}_cells.csv").label) == [1, 2, 3, 5]


def test_suggested_regions_are_framed_checked_and_left_behind(browser, serve, tmp_path):
    folder = write_results(tmp_path / "res")
    server = serve(folder)
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    errors = []
    tab.on("pageerror", lambda error: errors.append(error))
    tab.goto(server.address)
    links = tab.locator(".regions a")
    links.first.wait_for(timeout=WAIT_MS)
    assert links.count() == 4 and links.first.inner_text() == NAMES[1]
    links.first.click()
    tab.wait_for_selector(".field[data-ready]", timeout=WAIT_MS)
    assert tab.inner_text(".name") == NAMES[1] and "@350,0,700,600" in tab.url
    tab.click(".check-region")

    # the region is checked on the disk, and the page goes on with another one
    tab.wait_for_url(lambda url: "b@350" not in url, timeout=WAIT_MS)
    tab.wait_for_selector(".field[data-ready]", timeout=WAIT_MS)
    checked = checked_mask(read_actions(folder, NAMES[1]), SHAPE)
    assert checked[:, 350:].all() and not checked[:, :350].any()
    first = tab.url
    tab.click(".next-region")
    tab.wait_for_url(lambda url: url != first, timeout=WAIT_MS)
    tab.wait_for_selector(".field[data-ready]", timeout=WAIT_MS)

    tab.click(".back")
    tab.wait_for_selector(".regions a", timeout=WAIT_MS)
    assert tab.locator(".regions a").count() == 3 and errors == []


def test_a_redraw_ends_with_its_selection_and_quick_actions_follow_each_other(browser, serve, tmp_path):
    folder = write_results(tmp_path / "res")
    tab = browser.new_page(viewport={"width": 1100, "height": 760})
    page = Page(tab, serve(folder).address)
    around = ((190, 390), (240, 390), (240, 440), (190, 440))

    # the nucleus to draw again is deleted: the tool goes, and a drag moves the picture
    page.click(centre(1))
    tab.keyboard.press("r")
    tab.keyboard.press("Delete")
    page.becomes(1)
    page.until(lambda: "active" in tab.get_attribute('[data-tool="look"]', "class"))
    page.drag(*around)
    assert page.errors == [] and page.revision == 1

    # two corrections at once are done one after the other
    tab.evaluate("""for (const again of [false, true]) document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key: "z", ctrlKey: true, shiftKey: again, bubbles: true }))""")
    page.becomes(3)
    assert [a.action for a in read_actions(folder, NAMES[0])] == ["delete", "undo", "redo"]
    assert tab.is_hidden("#message") and page.errors == []
