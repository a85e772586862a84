#!/usr/bin/env python3
"""Draws the pictures of docs/study.md from the results of ./dev study and fills in its tables."""
import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "study"))
import python  # noqa: E402

parser = argparse.ArgumentParser(prog="./dev plot", description=__doc__)
parser.add_argument("--recipe", metavar="NAME", help="recipe whose results to use [all that there are]")
parser.add_argument("--results", default=ROOT / "docs/study/results", type=pathlib.Path, metavar="DIR",
                    help="folder of the CSV files [docs/study/results]")
parser.add_argument("--out", default=ROOT / "docs/study", type=pathlib.Path, metavar="DIR",
                    help="folder for the pictures [docs/study]")
parser.add_argument("--document", metavar="FILE", help="document with the tables; those that name no recipe show "
                    "--recipe's results [docs/study.md, showing quick's]; '' for none")
parser.add_argument("--tables", action="store_true", help="only fill in the tables")
parser.add_argument("--check", action="store_true", help="draw nothing: report what is stale, and exit with 1 if "
                    "anything is")
args = parser.parse_args()
python.use()  # what follows needs packages
import pictures  # noqa: E402

try:
    sys.exit(pictures.act(args))
except (ValueError, OSError) as error:
    sys.exit(f"plot: {error}")
