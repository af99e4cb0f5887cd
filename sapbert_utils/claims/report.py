"""A research note from the results of a run: Markdown and HTML, each number with its source."""

import html
import json
from pathlib import Path
from typing import Any

from ..course.profiles import Profile
from ..files import whole_file
from .table import read_rows

TEMPLATE = Path(__file__).with_name("report.txt")
DATA, MEASURED = ("00", "01"), ("03", "04", "05", "06", "07")
FIGURES = ("04_hpo_layperson", "05_languages", "06_languages", "08_bases", "08_losses",
           "08_miners", "08_tiers")
STYLE = ("body{max-width:60em;margin:2em auto;padding:0 1em;font:16px/1.5 sans-serif}"
         "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2em .6em;"
         "text-align:left;vertical-align:top}img{max-width:100%}"
         "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}"
         "img{background:#fff}}")


def write_report(profile: Profile) -> list[Path]:
    """Write ``report.md`` and ``report.html`` into the folder of the run; return their paths.

    Raises ``FileNotFoundError`` when notebook 08 has not run yet.
    """
    from nbconvert.filters import markdown2html  # slow to import

    verdicts = profile.data / "verdicts.json"
    records = [json.loads(path.read_text(encoding="utf-8"))
               for path in sorted(profile.results.glob("[0-9][0-9]_*.json"))]
    if not verdicts.is_file() or not records:
        raise FileNotFoundError(f"{verdicts} is missing: write it with\n    python -m "
                                f"sapbert_utils run 08 --profile {profile.name}")
    page = TEMPLATE.read_text(encoding="utf-8").format(
        profile=profile.name, ran=_ran(records), data=_table(records, DATA),
        metrics=_table(records, MEASURED), figures=_figures(profile, records),
        trained=_trained(), claims=_claims(json.loads(verdicts.read_text(encoding="utf-8"))))
    title = html.escape(page.splitlines()[0].lstrip("# "))
    texts = {"md": page, "html": f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{title}"
                                 f"</title><style>{STYLE}</style>{markdown2html(page)}</html>\n"}
    paths = [profile.folder / f"report.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return paths


def _ran(records: list[dict[str, Any]]) -> str:
    """Say on which machines, and with what, the notebooks ran."""
    on = sorted({record["machine"]["gpu"] or f"{record['machine']['cores']} cores of one "
                 f"{record['machine']['cpu']}" for record in records})
    versions = records[-1]["packages"]
    return (f"The notebooks ran on {', '.join(on)}, with torch {versions['torch']} and "
            f"transformers {versions['transformers']}.")


def _trained() -> str:
    """Say on which machines the rows of the claims' table were trained."""
    rows = read_rows()
    on = sorted(set(rows.get("machine", [])))
    return f"The {len(rows)} rows behind the claims were trained on {', '.join(on)}."


def _table(records: list[dict[str, Any]], numbers: tuple[str, ...]) -> str:
    """The metrics of some notebooks as a Markdown table, each linked to its results."""
    rows = ["| notebook | metric | value |", "|---|---|---|"]
    for record in records:
        stem = record["notebook"]
        if stem[:2] in numbers:
            rows += [f"| {stem[:2]} | {_cell(metric['name'])} | [{round(metric['value'], 2):,g}]"
                     f"(results/{stem}.json) {metric['unit']} |" for metric in record["metrics"]]
    return "\n".join(rows)


def _claims(verdicts: dict[str, dict[str, Any]]) -> str:
    rows = ["| claim | verdict | compared | why |", "|---|---|---|---|"]
    for claim, found in verdicts.items():
        each = [f"{row['after']} over {row['before']}, {row['test set']}: "
                f"[{row['gain']:+.1f}](data/verdicts.json) ({row['low']:+.1f} to "
                f"{row['high']:+.1f}), {row['seeds']:.0f} seeds"
                for row in found["compared"] if "gain" in row]
        rows.append(f"| {_cell(claim)} | {found['verdict']} | {_cell('; '.join(each))} | "
                    f"{_cell(found['why'])} |")
    return "\n".join(rows)


def _figures(profile: Profile, records: list[dict[str, Any]]) -> str:
    """The chosen figures that this run drew, with their alternative texts below."""
    alts = {name: alt for record in records for name, alt in record["figures"].items()}
    return "\n\n".join(f"![{alts[f'{name}.png']}](figures/{name}.png)\n\n*{alts[f'{name}.png']}*"
                       for name in FIGURES
                       if f"{name}.png" in alts and (profile.figures / f"{name}.png").is_file())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
