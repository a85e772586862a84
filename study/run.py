#!/usr/bin/env python3
"""Trains every run of the given lists, as many at once as the machine can take; resumes where it was stopped."""
import argparse
import sys

import lists
import python


def stop(reason, code=1):
    print(f"study: {reason}", file=sys.stderr)
    sys.exit(code)


def show_lists():
    for file in sorted(lists.HERE.glob("*.txt")):
        about, jobs = lists.read(file)
        print(f"{file.stem:12} {len(jobs):3} runs  {about}")


def options():
    parser = argparse.ArgumentParser(prog="./dev study", description=__doc__, epilog="Ctrl-C ends the runs cleanly; the same "
                                     "command resumes them. Results go to docs/study/results, pictures and tables come "
                                     "from ./dev plot; docs/study.md shows both.")
    parser.add_argument("lists", nargs="*", metavar="LIST", help="a list in study/lists, or a file [families]")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the lists")
    what.add_argument("--status", action="store_true", help="show the progress of every run")
    what.add_argument("--dry-run", action="store_true", help="show what would run, and how long that should take")
    what.add_argument("--import", dest="take", nargs="+", metavar="DIR", help="import finished runs that were started "
                      "by hand (./dev train --out DIR)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once [as many as cores and memory allow]")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="threads per rank; results depend on it [1]")
    parser.add_argument("--only", metavar="TEXT", help="only the runs that have TEXT in their name")
    parser.add_argument("--data", metavar="DIR", help="folder of CIFAR-10's binary files [$PCOMP_CIFAR10, else data/]")
    parser.add_argument("--out", default="runs/study", metavar="DIR", help="where the runs' folders go [runs/study]")
    parser.add_argument("--results", default="docs/study/results", metavar="DIR", help="folder of the CSV files; runs "
                        "in them are not repeated, so name an empty folder to repeat all [docs/study/results]")
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)  # for ./dev, before it builds
    parser.add_argument("--commit", default="unknown", help="with --import: the commit the runs' program was built "
                        "from (give --threads and --jobs as they were)")
    return parser


def main():
    args = options().parse_args()
    if args.list:
        return show_lists()
    for name in ("jobs", "threads"):
        if (value := getattr(args, name)) is not None and value < 1:
            stop(f"--{name} {value}: expected at least 1", 2)
    jobs = [job for job in lists.read_all(args.lists or ["families"]) if not args.only or args.only in job.name]
    if not jobs:
        stop(f"--only {args.only}: no run of the lists has that in its name", 2)
    if args.only_parse:
        return 0
    python.use()  # what follows needs packages, what came before works without
    import actions
    try:
        return actions.act(args, jobs)
    except actions.BadResults as error:
        stop(error, 2)


try:
    sys.exit(main())
except lists.ListError as error:
    stop(error, 2)
except (KeyboardInterrupt, BrokenPipeError):
    sys.exit(130)
