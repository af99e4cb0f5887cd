"""The command line of the course: ``python -m sapbert_utils --help``."""

import argparse
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sapbert_utils.course.notebooks import (
    NOTEBOOKS,
    Refused,
    choose,
    combinations,
    convert,
    find_notebooks,
    listing,
    metrics_table,
    parse_assignments,
    read_results,
)
from sapbert_utils.course.profiles import PROFILES, REPOSITORY, Profile, get_profile
from sapbert_utils.course.running import Failed, run_all, run_grid
from sapbert_utils.files import given_path, whole_file

Options = argparse.Namespace


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sapbert_utils",
                                     description="Run the notebooks of the course.")
    commands = parser.add_subparsers(required=True, metavar="command")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--notebooks", type=given_path, default=NOTEBOOKS,
                            help="the folder of the notebooks")
    running = argparse.ArgumentParser(add_help=False, parents=[everywhere])
    running.add_argument("--profile", default="",
                         help=f"{', '.join(PROFILES)} (else $SAPBERT_PROFILE, else demo)")
    running.add_argument("-p", "--parameter", action="append", default=[], dest="parameters",
                         metavar="name=value",
                         help="set a parameter of the notebooks that have it; may be repeated")

    add = commands.add_parser("reproduce", parents=[running],
                              help="run all notebooks that are not up to date")
    add.add_argument("--force", action="store_true", help="run also what is up to date")
    add.set_defaults(act=_reproduce)

    add = commands.add_parser("run", parents=[running], help="run one notebook")
    add.add_argument("notebook", help="its number or name, for example 03")
    add.add_argument("--grid", action="append", default=[], metavar="name=value,value",
                     help="run it once for each combination of these values, and write a table; "
                          "may be repeated")
    add.set_defaults(act=_run)

    _add_link(commands)

    add = commands.add_parser(
        "train-released", help="train a model that ships with the course again, or go on")
    add.add_argument("name", help="sapbert-minilm, sapbert-minilm-mean-token or sapbert-e5")
    add.add_argument("--output", type=given_path,
                     help="the folder to write (released/<name>/adapters beside the runs)")
    add.add_argument("-p", "--parameter", action="append", default=[], dest="parameters",
                     metavar="name=value", help="a parameter of notebook 01 or 03 to set otherwise")
    add.set_defaults(act=_train_released)

    add = commands.add_parser(
        "claims", help="train and measure what the table of notebook 08 lacks; go on if stopped")
    add.add_argument("--profile", default="", help="the run whose pair files are read (demo)")
    add.add_argument("--only", action="append", default=[], metavar="setting",
                     help="a setting of the table; may be repeated (all)")
    add.add_argument("--seeds", default="1,2,3", help="such as 2,3 (1,2,3)")
    add.add_argument("--again", action="store_true",
                     help="measure also what the table has, show both, and write nothing")
    add.set_defaults(act=_claims)

    add = commands.add_parser(
        "fetch", help="download a gold corpus of the papers that has a public address")
    add.add_argument("corpus", help="ncbi-disease or xl-bel")
    add.set_defaults(act=_fetch)

    add = commands.add_parser("list", parents=[everywhere],
                              help="show notebooks, parameters and measured times")
    add.set_defaults(act=_list)

    add = commands.add_parser(
        "publish", parents=[everywhere],
        help="put outputs and figures of the finished demo run where git keeps them")
    add.add_argument("--figures", type=given_path, default=REPOSITORY / "figures",
                     help="the folder of the figures")
    add.set_defaults(act=_publish)
    return parser


def _add_link(commands: Any) -> None:
    add = commands.add_parser(
        "link", help="link a column of a CSV file to the names of the open terminologies, or of "
                     "a linker of yours")
    add.add_argument("csv", type=given_path, help="the file of mentions")
    add.add_argument("--column", default="mention", help="its column of mentions (mention)")
    add.add_argument("--context", default="",
                     help="its column with the text around the mention, if any: an abbreviation "
                          "that is explained there is linked by what it stands for")
    add.add_argument("--linker", type=given_path,
                     help="the folder of a saved linker, such as runs/demo/models/linker of "
                          "notebook 07; without one, a linker to open names is made on first use")
    add.add_argument("--model", default="",
                     help="its encoder: a name or folder (sapbert-minilm; where names are not "
                          "English alone, sapbert-e5)")
    add.add_argument("--sources", default="", help="of the names, such as HPO,MONDO (all)")
    add.add_argument("--languages", default="", help="of the names, such as ENG,GER, or all (ENG)")
    add.add_argument("--semantic-type", default="", help="of the concepts, such as T047,T184 (all)")
    add.add_argument("--json", action="store_true",
                     help="write JSON Lines, an object a row, and not CSV")
    add.add_argument("--output", type=given_path,
                     help="the file to write (beside the first: name.linked.csv, or .jsonl)")
    add.add_argument("--k", type=int, default=5, help="candidates a mention (5)")
    add.add_argument("--threshold", type=float,
                     help="score from which the first candidate is accepted (the linker's own)")
    add.add_argument("--encoding", default="utf-8-sig", help="of the file (utf-8-sig)")
    add.set_defaults(act=_link)


def _say(text: str) -> None:
    print(text, end="", flush=True)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn the errors by which the library says what is wrong with an input into refusals."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(_in_words(error)) from None


def _in_words(error: OSError) -> str:
    """The system's own errors say what is wrong: add what to do."""
    if error.errno == errno.ENOSPC:
        place = error.filename or "the disk"
        return f"{place}: no space is left; free some and run again: what had finished is kept"
    if error.filename:
        return f"{error.filename}: {error.strerror}; check the path and your rights to it"
    return str(error)


def _profile(options: Options) -> Profile:
    with _refusing():
        return get_profile(options.profile)


def _reproduce(options: Options) -> None:
    notebooks, profile = find_notebooks(options.notebooks), _profile(options)
    parameters = convert(notebooks, parse_assignments(options.parameters))
    run_all(notebooks, parameters, profile, options.force, _say)
    table = f"{metrics_table(read_results(notebooks, profile))}\n"
    with whole_file(profile.folder / "metrics.txt") as partial:
        partial.write_text(table, encoding="utf-8")
    _say(f"\n{table}")


def _run(options: Options) -> None:
    notebook = choose(find_notebooks(options.notebooks), options.notebook)
    profile, given = _profile(options), parse_assignments(options.parameters)
    if options.grid:
        chosen = combinations(parse_assignments(options.grid))
        parameters = [convert([notebook], given | values)[0] for values in chosen]
        table = run_grid(notebook, parameters, profile, _say)
        _say(f"\n{table.read_text(encoding='utf-8')}\n{table}\n")
    else:
        run_all([notebook], convert([notebook], given), profile, True, _say)
        _say(f"\n{metrics_table(read_results([notebook], profile))}\n")


def _list(options: Options) -> None:
    profiles = [get_profile(name) for name in PROFILES]
    _say(f"{listing(find_notebooks(options.notebooks), profiles)}\n")


def _link(options: Options) -> None:
    from sapbert_utils.linking import Linker, check_csv, link_csv

    suffix = ".jsonl" if options.json else ".csv"
    target = options.output or options.csv.with_suffix(f".linked{suffix}")
    if target.resolve() == options.csv.resolve():
        raise Refused(f"{target} is the file of mentions itself: write to another with --output")
    if target.is_dir():  # say so before the linker is loaded
        raise Refused(f"{target} is a folder: name a file with --output")
    if options.json != (target.suffix == ".jsonl"):
        raise Refused(f"{target} does not end in {suffix}: name such a file with --output, or "
                      f"{'leave --json out' if options.json else 'add --json'}")
    if options.linker and (options.model or options.languages):
        raise Refused("--linker has its own model and names: leave out --model and --languages")
    if options.linker and not options.linker.is_dir():
        raise Refused(f"no linker in {options.linker}: run notebook 07, name a folder that "
                      "Linker.save wrote, or leave out --linker")
    sources, languages, types = (_listed(text) for text in (
        options.sources, options.languages or "ENG", options.semantic_type))
    form = {"encoding": options.encoding, "context": options.context}
    with _refusing():
        check_csv(options.csv, options.column, options.k, options.threshold, **form)
        if options.linker:
            linker = Linker.load(options.linker)
        else:
            languages = [] if languages == ["all"] else languages
            linker = Linker.open(options.model, sources, languages, "names (once)")
            sources = []  # the linker has no others
        only = linker.part(sources, types) if sources or types else None
        rows = link_csv(linker, options.csv, target, options.column, options.k, options.threshold,
                        only, **form)
    _say(f"{rows:,} rows linked: {target}\n")


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _train_released(options: Options) -> None:
    from sapbert_utils.releasing import train_released

    with _refusing():
        folder = train_released(options.name, options.output, _say,
                                **parse_assignments(options.parameters))
    _say(f"{folder}\n")


def _claims(options: Options) -> None:
    from sapbert_utils.claims import run_claims

    with _refusing():
        seeds = [int(seed) for seed in _listed(options.seeds)]
        run_claims(_profile(options), _say, options.only, seeds, options.again)


def _fetch(options: Options) -> None:
    from sapbert_utils.evaluation.corpora import fetch_corpus

    with _refusing():
        _say(f"{fetch_corpus(options.corpus)}\n")


def _publish(options: Options) -> None:
    from sapbert_utils.course.publishing import publish

    notebooks = find_notebooks(options.notebooks)
    for path in publish(notebooks, get_profile("demo"), options.figures, _say):
        _say(f"{path}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, 1 when a notebook failed, 2 when the command was refused."""
    options = _parser().parse_args(arguments)
    try:
        options.act(options)
    except Refused as error:
        print(f"sapbert_utils: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"sapbert_utils: the package {error.name} is missing; in the repository: "
              "pip install -e '.[course,export,index]'", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"sapbert_utils: {_in_words(error)}", file=sys.stderr)
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
