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
                         help="set a parameter of the notebooks that have it; may be repeated")

    add = commands.add_parser("reproduce", parents=[running],
                              help="run all notebooks that are not up to date")
    add.add_argument("--force", action="store_true", help="run also what is up to date")
    add.set_defaults(act=actions.reproduce)

    add = commands.add_parser("run", parents=[running], help="run one notebook")
    add.add_argument("notebook", help="its number or name, for example 03")
    add.add_argument("--grid", action="append", default=[], metavar="name=value,value",
                     help="run it once for each combination of these values, and write a table; "
                          "may be repeated")
    add.set_defaults(act=actions.run)

    _add_link(commands)

    _add_trainings(commands)

    add = commands.add_parser(
        "fetch", help="download a gold corpus of the papers that has a public address")
    add.add_argument("corpus", help="ncbi-disease or xl-bel")
    add.set_defaults(act=actions.fetch)

    add = commands.add_parser("list", parents=[everywhere],
                              help="show notebooks, parameters and measured times")
    add.set_defaults(act=actions.list_notebooks)

    add = commands.add_parser(
        "publish", parents=[everywhere],
        help="put outputs and figures of the finished demo run where git keeps them")
    add.add_argument("--figures", type=given_path, default=REPOSITORY / "figures",
                     help="the folder of the figures")
    add.set_defaults(act=actions.publish_run)
    return parser


def _add_trainings(commands: Any) -> None:
    add = commands.add_parser(
        "train-released", help="train a model that ships with the course again, or go on")
    add.add_argument("name", help="sapbert-minilm, sapbert-minilm-mean-token or sapbert-e5")
    add.add_argument("--output", type=given_path,
                     help="the folder to write (released/<name>/adapters beside the runs)")
    add.add_argument("-p", "--parameter", action="append", default=[], dest="parameters",
                     metavar="name=value", help="a parameter of notebook 01 or 03 to set otherwise")
    add.set_defaults(act=actions.release)

    add = commands.add_parser(
        "claims", help="train and measure what the table of notebook 08 lacks; go on if stopped")
    add.add_argument("--profile", default="", help="the run whose pair files are read (demo)")
    add.add_argument("--only", action="append", default=[], metavar="setting",
                     help="a setting of the table; may be repeated (all)")
    add.add_argument("--seeds", default="1,2,3", help="such as 2,3 (1,2,3)")
    add.add_argument("--again", action="store_true",
                     help="measure also what the table has, show both, and write nothing")
    add.set_defaults(act=actions.measure_claims)

    add = commands.add_parser(
        "report", help="write a research note, Markdown and HTML, from the results of a run")
    add.add_argument("--profile", default="", help="of the run (demo)")
    add.set_defaults(act=actions.report)


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
    add.set_defaults(act=actions.link)


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
        print(f"sapbert_utils: {actions.in_words(error)}", file=sys.stderr)
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
