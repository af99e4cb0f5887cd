"""A learner's first hour: open each notebook in JupyterLab, run all cells, play, answer an exercise."""

import json

import pytest

from sapbert_utils.course.notebooks import NOTEBOOKS

COURSE = sorted(path.name for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget, kernel = panel.sessionContext.session?.kernel;
  const cells = [...panel.content.model.cells].filter(cell => cell.type === "code").map(cell => cell.toJSON());
  const outputs = cells.flatMap(cell => cell.outputs);
  return { idle: kernel?.status === "idle", left: cells.filter(cell => !cell.execution_count).length,
    errors: outputs.filter(o => o.output_type === "error").map(o => `${o.ename}: ${o.evalue}`),
    pictures: outputs.filter(o => o.data?.["image/png"]).length,
    widgets: outputs.filter(o => o.data?.["application/vnd.jupyter.widget-view+json"]).length };
}"""
CONTRAST = """() => {
  const of = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(x => x / 255)
      .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => { for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return of(colour); } return 1; };
  return [...document.querySelectorAll(".jp-RenderedMarkdown p, .jp-RenderedText pre, .jp-RenderedHTMLCommon td")]
    .filter(element => element.offsetParent).slice(0, 40).map(element => {
      const [a, b] = [of(getComputedStyle(element).color), behind(element)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05); });
}"""


def open_notebook(browser, lab, name):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/tree/{name}?reset")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status "
                           "=== 'idle'", timeout=120_000)
    return page


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_timeout(2000)
    for _ in range(600):
        state = page.evaluate(STATE)
        if state["errors"] or (state["idle"] and not state["left"]):
            return state
        page.wait_for_timeout(1000)
    raise AssertionError(f"not done in ten minutes: {state}")


@pytest.mark.parametrize("name", COURSE, ids=lambda name: name[:2])
def test_runs_all_cells_with_figures_and_widgets(browser, lab, name):
    page = open_notebook(browser, lab, name)
    source = (NOTEBOOKS / name).read_text(encoding="utf-8")
    committed = [o for cell in json.loads(source)["cells"] for o in cell.get("outputs", [])]
    # the committed outputs are there before anything has run
    shown = page.evaluate(STATE)
    assert shown["pictures"] == sum("image/png" in o.get("data", {}) for o in committed) > 0
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    state = run_all(page)
    assert state["errors"] == [] and state["left"] == 0 and state["pictures"] > 0, state
    assert state["widgets"] >= source.count('"play('), state
    page.close()


def answer(page, code):
    """Type into a cell of its own below the last one, run it, and read what it says."""
    page.evaluate("""async () => { const run = name => window.jupyterapp.commands.execute(name);
        const notebook = window.jupyterapp.shell.currentWidget.content;
        notebook.activeCellIndex = notebook.widgets.length - 1; await run("notebook:insert-cell-below"); }""")
    page.locator(".jp-Notebook .jp-Cell.jp-mod-active .cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    cell = "window.jupyterapp.shell.currentWidget.content.activeCell.model"
    page.wait_for_function(f"() => {cell}.toJSON().outputs.length", timeout=60_000)
    return page.evaluate(f"() => {cell}.toJSON().outputs.map(o => o.data?.['text/plain'] ?? o.text ?? o.evalue)")[0]


def test_an_answer_typed_in_is_judged(browser, lab):
    page = open_notebook(browser, lab, COURSE[2])
    given = "from sapbert_utils.course import check\n"
    wrong = answer(page, given + "check.mining_1(lambda positive, negative, margin: positive - negative <= margin)")
    assert str(wrong).startswith("✗ Not yet.") and "which way round" in wrong
    right = answer(page, given + "check.mining_1(lambda positive, negative, margin: negative - positive <= margin)")
    assert str(right).startswith("✓ Right.")
    page.close()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_is_legible(browser, lab, theme):
    page = open_notebook(browser, lab, COURSE[0])
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    page.wait_for_timeout(3000)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 5 and min(contrasts) >= 4.5, contrasts
    page.close()

