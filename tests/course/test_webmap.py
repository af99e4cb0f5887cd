"""The interactive map: one file without addresses, and in a browser it is drawn, searched and hovered over."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from sapbert_utils.course.plots import interactive_map

NAMES = ["heart attack", "myocardial infarction", "wide nose </script><b>", "fever"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ACT = """<script>
const errors = [];
window.addEventListener("error", event => errors.push(event.message));
const said = () => document.getElementById("tip").textContent;
setTimeout(() => {
  const [x, y] = place(2);
  canvas.dispatchEvent(new MouseEvent("mousemove", { clientX: x, clientY: y + canvas.getBoundingClientRect().top }));
  const hovered = said(), search = document.getElementById("search");
  search.value = "INFARCTION";
  search.dispatchEvent(new Event("input"));
  const found = document.getElementById("found").textContent;
  document.querySelector("#panels button").click();
  setTimeout(() => { document.title = JSON.stringify({ hovered, found, errors, shown: panels[shown],
    pressed: document.querySelector("#panels [aria-pressed=true]").textContent,
    drawn: context.getImageData(0, 0, canvas.width, canvas.height).data.some(value => value) }); }, 900);
}, 900);
</script></body>"""


@pytest.fixture
def page():
    points = {"before": np.array([[0, 0], [4, 1], [2, 3], [9, 9.0]]),
              "after": np.array([[0, 0], [1, 0], [5, 3], [9, 9.0]])}
    return interactive_map(points, NAMES, ["C1", "C1", "C2", "C3"], ["HPO", "MONDO", "HPO", "HPO"],
                           ["heart", "heart", "other", "fever"], "Heart & nose", captions={"after": "purity 90 %"})


def test_the_page_is_whole_and_names_no_address(page):
    assert not re.search(r"(src|href)=|https?:|@import|url\(", page)
    assert "<title>Heart &amp; nose</title>" in page and page.count("</script>") == 2
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert data["names"] == NAMES and data["groups"] == [0, 0, -1, 1] and data["labels"] == ["heart", "fever"]
    assert np.abs(data["points"]["after"]).max() == 0.5


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is looked at where there is one")
def test_a_browser_without_a_network_draws_hovers_and_searches(page, tmp_path):
    (tmp_path / "map.html").write_text(page.replace("</body>", ACT), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=9000", "--dump-dom",
         (tmp_path / "map.html").as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stderr[-2000:]
    told = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert told == {"hovered": "wide nose </script><b>C2HPO", "found": "1 name", "errors": [], "shown": "before",
                    "pressed": "before", "drawn": True}
