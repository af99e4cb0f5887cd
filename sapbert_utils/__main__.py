"""The command line of the course: ``python -m sapbert_utils --help``."""

import argparse
import sys
from typing import Any

from sapbert_utils import actions
from sapbert_utils.course.notebooks import NOTEBOOKS, Refused
from sapbert_utils.course.profiles import PROFILES, REPOSITORY
from sapbert_utils.course.running import Failed
from sapbert_utils.files import given_path


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
                         help="set this parameter in every notebook that has it; may be repeated")

    add = commands.add_parser("reproduce", parents=[running],
                              help="run every notebook that isn't up to date")
    add.add_argument("--force", action="store_true", help="run the up-to-date notebooks too")
    add.set_defaults(act=actions.reproduce)

    add = commands.add_parser("run", parents=[running], help="run one notebook")
    add.add_argument("notebook", help="its number or name, for example 03")
    add.add_argument("--grid", action="append", default=[], metavar="name=value,value",
                     help="run once for each combination of these values, and write a table; "
                          "may be repeated")
    add.set_defaults(act=actions.run)

    _add_link(commands)

    _add_trainings(commands)

    add = commands.add_parser(
        "fetch", help="download one of the papers' gold corpora that have a public address")
    add.add_argument("corpus", help="ncbi-disease or xl-bel")
    add.set_defaults(act=actions.fetch)

    add = commands.add_parser("list", parents=[everywhere],
                              help="show notebooks, parameters and measured times")
    add.set_defaults(act=actions.list_notebooks)

    add = commands.add_parser(
        "publish", parents=[everywhere],
        help="copy outputs and figures of the finished demo run into the repository")
    add.add_argument("--figures", type=given_path, default=REPOSITORY / "figures",
                     help="the folder of the figures")
    add.set_defaults(act=actions.publish_run)
    return parser


def _add_trainings(commands: Any) -> None:
    add = commands.add_parser(
        "train-released", help="train a model that ships with the course again, or resume")
    add.add_argument("name", help="sapbert-minilm, sapbert-minilm-mean-token or sapbert-e5")
    add.add_argument("--output", type=given_path,
                     help="the folder to write (default: released/<name>/adapters beside the runs)")
    add.add_argument("-p", "--parameter", action="append", default=[], dest="parameters",
                     metavar="name=value", help="change a parameter of notebook 01 or 03")
    add.set_defaults(act=actions.release)

    add = commands.add_parser(
        "claims", help="train and measure what the table of notebook 08 lacks, or resume")
    add.add_argument("--profile", default="", help="read this run's pair files (default: demo)")
    add.add_argument("--only", action="append", default=[], metavar="setting",
                     help="train only this setting of the table; may be repeated")
    add.add_argument("--seeds", default="1,2,3", help="the seeds, such as 2,3 (default: 1,2,3)")
    add.add_argument("--again", action="store_true",
                     help="measure what the table already has too, show both, and write nothing")
    add.set_defaults(act=actions.measure_claims)

    add = commands.add_parser(
        "report", help="write a research note from the results of a run, as Markdown and HTML")
    add.add_argument("--profile", default="", help="the run to report on (default: demo)")
    add.set_defaults(act=actions.report)


def _add_link(commands: Any) -> None:
    add = commands.add_parser(
        "link", help="link a column of a CSV file to the open terminologies, or with a linker of "
                     "your own")
    add.add_argument("csv", type=given_path, help="the file of mentions")
    add.add_argument("--column", default="mention", help="column of mentions (default: mention)")
    add.add_argument("--context", default="",
                     help="the column with the text around each mention, if there is one: an "
                          "abbreviation that it explains is linked by what it stands for")
    add.add_argument("--linker", type=given_path,
                     help="the folder of a saved linker, such as runs/demo/models/linker of "
                          "notebook 07; without it, the first call makes one of open names")
    add.add_argument("--model", default="",
                     help="its encoder: a name or folder (default: sapbert-minilm, or sapbert-e5 "
                          "if the names aren't all English)")
    add.add_argument("--sources", default="",
                     help="link only to names of these sources, such as HPO,MONDO")
    add.add_argument("--languages", default="",
                     help="link to names in these languages, such as ENG,GER or all (default: ENG)")
    add.add_argument("--semantic-type", default="",
                     help="link only to concepts of these types, such as T047,T184")
    add.add_argument("--json", action="store_true",
                     help="write JSON Lines, one object per row, instead of CSV")
    add.add_argument("--output", type=given_path,
                     help="the file to write (default: name.linked.csv or .jsonl beside the input)")
    add.add_argument("--k", type=int, default=5, help="candidates per mention (default: 5)")
    add.add_argument("--threshold", type=float,
                     help="accept a first candidate from this score on (default: the linker's own)")
    add.add_argument("--encoding", default="utf-8-sig",
                     help="encoding of the file (default: utf-8-sig)")
    add.set_defaults(act=actions.link)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Return 0, or 1 if a notebook failed, or 2 if the command was refused."""
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
        print(f"sapbert_utils: {actions.in_words(error)}", file=sys.stderr)
        return 2
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished work is kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
