"""The site that `make book` builds: opens from disk, asks for nothing from elsewhere, no dead link, legible."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from sapbert_utils.course.notebooks import NOTEBOOKS
from sapbert_utils.course.profiles import REPOSITORY

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def book():
    done = subprocess.run(["make", "book"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return REPOSITORY / "book" / "html"


def test_each_notebook_and_page_is_in_it_and_no_link_is_dead(book):
    pages = {path: path.read_text(encoding="utf-8") for path in book.rglob("*.html") if "_static" not in path.parts}
    for notebook in [*NOTEBOOKS.glob("0*.ipynb"), *NOTEBOOKS.glob("solutions/0*.ipynb")]:
        assert (book / notebook.relative_to(REPOSITORY)).with_suffix(".html") in pages
    dead, ids = [], {page: set(re.findall(r'id="([^"]+)"', text)) for page, text in pages.items()}
    for page, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target, anchor = urldefrag(link)
            target = target.split("?")[0]
            if re.match(r"[a-z]+:", target):
                continue
            place = Path(page.parent / unquote(target)).resolve() if target else page
            if not place.exists() or anchor and place in ids and unquote(anchor) not in ids[place]:
                dead.append(f"{page.relative_to(book)}: {link}")
    assert dead == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_opens_from_disk_and_axe_finds_nothing_serious(book, browser, theme):
    from axe_playwright_python.sync_playwright import Axe

    found, asked = [], []
    page = browser.new_page(color_scheme=theme)
    page.on("request", lambda request: asked.append(request.url))
    names = [*sorted(book.glob("notebooks/0*.html")), book / "docs" / "glossary.html", book / "docs" / "index.html"]
    for path in names:
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        results = Axe().run(page).response
        found += [(path.name, one["id"], one["nodes"][0]["html"][:200]) for one in results["violations"]
                  if one["impact"] in SERIOUS]
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert found == []
    page.close()


def test_the_search_finds_a_word(book, browser):
    page = browser.new_page()
    page.goto((book / "search.html").as_uri() + "?q=margin")
    page.wait_for_selector("#search-results li a", timeout=30_000)
    assert any("02_mine" in link.get_attribute("href") for link in page.query_selector_all("#search-results li a"))
    page.close()
