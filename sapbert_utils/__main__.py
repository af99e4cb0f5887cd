"""The command line of the course: ``python -m sapbert_utils --help``."""

import argparse
import sys
from pathlib import Path

from sapbert_utils.course.notebooks import (
    NOTEBOOKS,
    Refused,
    check_writable,
    choose,
    choose_profile,
    combinations,
    convert,
    convert_all,
    find_notebooks,
    parse_assignments,
)
from sapbert_utils.course.profiles import PROFILES, REPOSITORY, get_profile
from sapbert_utils.course.running import (
    Failed,
    listing,
    metrics_table,
    read_results,
    run_all,
    run_grid,
    run_one,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sapbert_utils", description="Run the notebooks of the course.")
    commands = parser.add_subparsers(dest="command", required=True)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="the folder of the notebooks")
    running = argparse.ArgumentParser(add_help=False)
    running.add_argument("--profile", default="", help=f"{', '.join(PROFILES)} (else $SAPBERT_PROFILE, else demo)")
    running.add_argument("-p", "--parameter", action="append", default=[], metavar="name=value", dest="parameters",
                         help="set a parameter of the notebooks that have it; may be repeated")
    both = [everywhere, running]
    reproduce = commands.add_parser("reproduce", parents=both, help="run all notebooks that are not up to date")
    reproduce.add_argument("--force", action="store_true", help="run also what is up to date")
    run = commands.add_parser("run", parents=both, help="run one notebook")
    run.add_argument("notebook", help="its number or name, for example 03")
    run.add_argument("--grid", action="append", default=[], metavar="name=value,value",
                     help="run it once for each combination of these values, and tabulate; may be repeated")
    linking = commands.add_parser("link", help="link a column of a CSV file with a saved linker (notebook 07)")
    linking.add_argument("csv", type=Path, help="the file of mentions")
    linking.add_argument("--column", default="mention", help="its column of mentions (mention)")
    linking.add_argument("--context", default="", help="its column with the text around the mention, if any: an "
                         "abbreviation that is explained there is linked by what it stands for")
    linking.add_argument("--linker", type=Path, help="the folder of the linker (the one of notebook 07, demo profile)")
    linking.add_argument("--output", type=Path, help="the file to write (beside the first: name.linked.csv)")
    linking.add_argument("--k", type=int, default=5, help="candidates a mention (5)")
    linking.add_argument("--threshold", type=float, default=0.0, help="score from which the first one is accepted")
    linking.add_argument("--encoding", default="utf-8-sig", help="of the file (utf-8-sig)")
    fetching = commands.add_parser("fetch", help="download a gold corpus of the papers that has a public address")
    fetching.add_argument("corpus", help="ncbi-disease or xl-bel")
    commands.add_parser("list", parents=[everywhere], help="show notebooks, parameters and measured times")
    published = commands.add_parser(
        "publish", parents=[everywhere], help="put outputs and figures of the finished demo run where git keeps them")
    published.add_argument("--figures", type=Path, default=REPOSITORY / "figures", help="the folder of the figures")
    return parser


def _say(text: str) -> None:
    print(text, end="", flush=True)


def _reproduce(options: argparse.Namespace) -> None:
    notebooks, profile = find_notebooks(options.notebooks), choose_profile(options.profile)
    parameters = convert_all(notebooks, parse_assignments(options.parameters))
    check_writable(profile)
    run_all(notebooks, parameters, profile, options.force, _say)
    table = f"{metrics_table(read_results(notebooks, profile))}\n"
    (profile.folder / "metrics.txt").write_text(table, encoding="utf-8")
    _say(f"\n{table}")


def _run(options: argparse.Namespace) -> None:
    notebook, profile = choose(find_notebooks(options.notebooks), options.notebook), choose_profile(options.profile)
    given = parse_assignments(options.parameters)
    if options.grid:
        grid = [convert(notebook, given | chosen) for chosen in combinations(parse_assignments(options.grid))]
        check_writable(profile)
        table = run_grid(notebook, grid, profile, _say)
        _say(f"\n{table.read_text(encoding='utf-8')}\n{table}\n")
        return
    parameters = convert(notebook, given)
    check_writable(profile)
    _say(f"{notebook.label} … ")
    run_one(notebook, parameters, profile, _say)
    _say(f"\n{metrics_table(read_results([notebook], profile))}\n")


def _list(options: argparse.Namespace) -> None:
    _say(f"{listing(find_notebooks(options.notebooks), [get_profile(name) for name in PROFILES])}\n")


def _link(options: argparse.Namespace) -> None:
    from sapbert_utils.linking import Linker

    folder = options.linker or get_profile("demo").models / "linker"
    if not folder.is_dir():
        raise Refused(f"no linker in {folder}: run notebook 07, or name a folder that Linker.save wrote with --linker")
    target = options.output or options.csv.with_suffix(".linked.csv")
    try:
        rows = Linker.load(folder).link_csv(options.csv, target, options.column, options.k, options.threshold,
                                            options.encoding, context=options.context)
    except (ValueError, OSError, LookupError) as error:
        raise Refused(str(error)) from None
    _say(f"{rows:,} rows linked: {target}\n")


def _fetch(options: argparse.Namespace) -> None:
    from sapbert_utils.evaluation.corpora import fetch_corpus

    try:
        _say(f"{fetch_corpus(options.corpus)}\n")
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from None


def _publish(options: argparse.Namespace) -> None:
    from sapbert_utils.course.publishing import publish

    for path in publish(find_notebooks(options.notebooks), get_profile("demo"), options.figures, _say):
        _say(f"{path}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 1 when a notebook failed, 2 when the command was refused."""
    options = _parser().parse_args(arguments)
    commands = {"reproduce": _reproduce, "run": _run, "list": _list, "link": _link, "fetch": _fetch,
                "publish": _publish}
    try:
        commands[options.command](options)
    except Refused as error:
        print(f"sapbert_utils: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; what had finished is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
