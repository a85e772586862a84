#!/usr/bin/env python3
"""Plants the faults of faults.txt in a copy of the tree and reports which of them the tests do not see.

One build serves all: every fault is in it, and the environment variable PCOMP_MUTANT turns one on while a program runs.
First the programs run without any; then, for each fault, those that should see it, until one fails, crashes or takes
too long. Exit code 1 if a fault survives that faults.txt does not explain.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

here = pathlib.Path(__file__).resolve().parent
root = here.parent.parent


class Mistake(Exception):
    pass


class Fault:
    """One entry of the list; `number` is its place in it."""

    def __init__(self, name, line):
        self.name, self.line = name, line
        self.file = self.find = self.fault = self.plant = self.within = self.see = self.survives = None
        self.torch = False
        self.number = 0

    def checked(self):
        for what in ("file", "find", "see"):
            if not getattr(self, what):
                raise Mistake(f"faults.txt:{self.line}: [{self.name}] has no line '{what}'")
        if (self.fault is None) == (self.plant is None):
            raise Mistake(f"faults.txt:{self.line}: [{self.name}] needs a line 'fault' or a line 'plant'")
        if self.plant is not None and "MUTANT" not in self.plant:
            raise Mistake(f"faults.txt:{self.line}: [{self.name}]: 'plant' has no MUTANT")
        return self

    def programs(self):
        """[(program, [parts of the names of the tests that see it first])]"""
        all = []
        for entry in self.see.split(";"):
            name, _, cases = entry.strip().partition(":")
            all.append((name.strip(), [c.strip() for c in cases.split("|") if c.strip()]))
        return all

    def replacement(self, found):
        switch = f"::pcomp_mutant({self.number})"
        if self.plant is not None:
            return self.plant.replace("FOUND", found).replace("MUTANT", switch)
        return f"({switch} ? ({self.fault}) : ({found}))"


def parse(text):
    """The faults of a list."""
    faults, names = [], set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            name = line.strip()[1:-1]
            if name in names:
                raise Mistake(f"faults.txt:{number}: a second [{name}]")
            names.add(name)
            faults.append(Fault(name, number))
            continue
        what, _, value = line.strip().partition(" ")
        if not faults or what not in ("file", "find", "fault", "plant", "within", "see", "survives", "torch"):
            raise Mistake(f"faults.txt:{number}: unknown line '{line}'")
        setattr(faults[-1], what, value.strip() if what != "torch" else True)
    for i, f in enumerate(faults, 1):
        f.number = i
        f.checked()
    return faults


def pattern(text):
    """Text in which any white space stands for any other, and may be missing beside punctuation."""
    words = re.findall(r"\w+|[^\w\s]", text)
    expression = ""
    for a, b in zip(words, words[1:] + [""]):
        both = b and (a[-1].isalnum() or a[-1] == "_") and (b[0].isalnum() or b[0] == "_")
        expression += re.escape(a) + (r"\s+" if both else r"\s*" if b else "")
    return re.compile(expression)


def place(fault, text):
    """(begin, end) of the one place of a fault in its file."""
    begin = 0
    if fault.within:
        anchor = pattern(fault.within).search(text)
        if not anchor:
            raise Mistake(f"[{fault.name}]: {fault.file} does not hold '{fault.within}'")
        begin = anchor.start()
    found = [m.span() for m in pattern(fault.find).finditer(text, begin)]
    if not found:
        raise Mistake(f"[{fault.name}]: {fault.file} does not hold '{fault.find}'")
    if fault.plant is None and re.search(r"(::|\.|->)\s*$", text[:found[0][0]]):
        raise Mistake(f"[{fault.name}]: {fault.file} qualifies '{fault.find}', so a condition cannot stand in its place")
    if len(found) > 1 and not fault.within:
        raise Mistake(f"[{fault.name}]: {fault.file} holds '{fault.find}' {len(found)} times: add a line 'within'")
    return found[0]


def planted(text, faults):
    """A file's text with its faults in it, all of them off."""
    spans = sorted(((*place(f, text), f) for f in faults), key=lambda s: s[0])
    for (_, end, a), (begin, _, b) in zip(spans, spans[1:]):
        if begin < end:
            raise Mistake(f"[{a.name}] and [{b.name}] overlap in {a.file}")
    for begin, end, f in reversed(spans):
        text = text[:begin] + f.replacement(text[begin:end]) + text[end:]
    return text


def by_file(faults):
    files = {}
    for f in faults:
        files.setdefault(f.file, []).append(f)
    return files


def check(faults):
    """Says of every fault whose place is lost that it is."""
    lost = []
    for file, those in by_file(faults).items():
        path = root / file
        if not path.is_file():
            lost += [f"[{f.name}]: there is no file {file}" for f in those]
            continue
        text = path.read_text()
        for f in those:
            try:
                place(f, text)
            except Mistake as e:
                lost.append(str(e))
        if not lost:
            try:
                planted(text, those)
            except Mistake as e:
                lost.append(str(e))
    if lost:
        raise Mistake("\n".join(lost))


def tracked():
    """The files of the tree, without what is built or downloaded."""
    try:
        said = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, check=True)
        files = [f for f in said.stdout.decode().split("\0") if f]
    except (OSError, subprocess.CalledProcessError):
        files = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
    skip = ("build/", ".venv/", ".git/", "data/", "runs/", "study/", "docs/study/")
    return [f for f in files if not f.startswith(skip) and (root / f).is_file()]


def write_tree(to, faults):
    """Brings the copy up to date; what has not changed keeps its time, so that it is not built again."""
    planted_files = by_file(faults)
    wanted = set()
    for file in tracked():
        wanted.add(file)
        raw = (root / file).read_bytes()
        if file in planted_files:
            raw = planted(raw.decode(), planted_files[file]).encode()
        path = to / file
        if not path.is_file() or path.read_bytes() != raw:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            shutil.copymode(root / file, path)
    for path in [p for p in to.rglob("*") if p.is_file()]:
        if str(path.relative_to(to)) not in wanted:
            path.unlink()


class Program:
    """A test program of the mutated build."""

    def __init__(self, name, build):
        self.name = name
        self.path = build / "tests" / f"test-{name}"
        self.seconds, self.cases, self.times = 0.0, [], {}

    def read_cases(self):
        for words in (["--list-test-names-only"], ["--list-tests", "--verbosity", "quiet"]):
            said = subprocess.run([self.path, *words], capture_output=True, text=True)
            self.cases = [line.strip() for line in said.stdout.splitlines() if line.strip()]
            if self.cases:
                return

    def named(self, parts):
        return [c for c in self.cases if any(p.lower() in c.lower() for p in parts)]

    def limit(self, cases):
        alone = sum(self.times.get(c, self.seconds) for c in cases) if cases else self.seconds
        return 20 + 8 * alone


def escaped(case):
    return re.sub(r"([\\,\[])", r"\\\1", case)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


def run(program, cases, number, seconds, reached=None, words=("-a",)):
    """How a program ends: '' if all is well, else why not."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PCOMP_MUTANT")}
    if number:
        environment["PCOMP_MUTANT"] = str(number)
        environment["PCOMP_MUTANT_REACHED"] = str(reached)
    spec = [",".join(escaped(c) for c in cases)] if cases else []
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = subprocess.Popen([program.path, *words, *spec], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env=environment, cwd=program.path.parent, start_new_session=True, preexec_fn=limits)
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        try:
            os.killpg(process.pid, signal.SIGKILL)  # it or children of its
        except OSError:
            pass
        process.wait()
        out.seek(0)
        text = out.read()
    if code is None:
        return "takes too long", text
    if code < 0:
        return f"crashes ({signal.Signals(-code).name})", text
    if "signal" in text.lower() and "fatal error condition" in text:
        return "crashes", text
    if code:
        return "fails", text
    return "", text


def judge(fault, programs, folder):
    """(what saw the fault, how, seconds, whether it was reached)"""
    begin = time.monotonic()
    reached = folder / str(fault.number)
    reached.unlink(missing_ok=True)
    those = [(programs[name], programs[name].named(parts)) for name, parts in fault.programs()]
    rounds = [(p, cases) for p, cases in those if cases] + [(p, []) for p, _ in those]
    for program, cases in rounds:
        how, _ = run(program, cases, fault.number, program.limit(cases), reached)
        if how:
            return program.name, how, time.monotonic() - begin, reached.exists()
    return "", "survives", time.monotonic() - begin, reached.exists()


def measure(program, jobs):
    """Runs a program without any fault, and learns how long its tests take."""
    program.read_cases()
    begin = time.monotonic()
    how, text = run(program, [], 0, 3600, words=("-r", "junit"))
    program.seconds = time.monotonic() - begin
    if how:
        raise Mistake(f"test-{program.name} {how} without any fault:\n" + "\n".join(text.splitlines()[-40:]))
    try:
        for case in xml.etree.ElementTree.fromstring(text[text.index("<?xml"):]).iter("testcase"):
            for name in program.cases:
                if case.get("name", "").startswith(name):
                    program.times[name] = program.times.get(name, 0) + float(case.get("time", 0))
    except (ValueError, xml.etree.ElementTree.ParseError):
        pass
    return program


def build(to, tree, names, options, jobs):
    """Configures and builds the programs."""
    launcher = os.environ.get("CMAKE_CXX_COMPILER_LAUNCHER")
    configure = ["cmake", "-S", tree, "-B", to, "-DCMAKE_BUILD_TYPE=Release", "-DPCOMP_WERROR=OFF", "-DPCOMP_BUILD=ON",
                 f"-DCMAKE_CXX_FLAGS=-w -include {here / 'mutant.hpp'}", *options]
    if shutil.which("ninja"):
        configure += ["-G", "Ninja"]
    if launcher:
        configure.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}")
    to.mkdir(parents=True, exist_ok=True)
    log = to / "mutate.log"
    with open(log, "w") as out:
        for words in (configure, ["cmake", "--build", to, "--parallel", str(jobs), "--target", *[f"test-{n}" for n in names]]):
            if subprocess.run(words, stdout=out, stderr=subprocess.STDOUT).returncode:
                out.flush()
                lines = log.read_text().splitlines()
                worst = [line for line in lines if "error" in line][:20] or lines[-20:]
                raise Mistake("the mutated tree does not build:\n" + "\n".join(worst) + f"\nAll that was said is in {log}")


def self_test():
    """The script's own parts, on a small text, without a compiler."""
    text = "int f(int a,\n      int b) {\n  return a + b;  // a + b\n}\n"

    def fault(**fields):
        f = Fault("one", 1)
        f.file, f.see, f.number = "x", "cpu", 7
        for k, v in fields.items():
            setattr(f, k, v)
        return f.checked()

    def refused(call, because):
        try:
            call()
        except Mistake as e:
            assert because in str(e), (because, str(e))
        else:
            assert False, f"'{because}' was not said"

    one = fault(find="return a+b", plant="return MUTANT ? a - b : a + b")
    assert "return ::pcomp_mutant(7) ? a - b : a + b;  // a + b" in planted(text, [one]), planted(text, [one])
    over = fault(find="int a, int b", plant="/* MUTANT */ FOUND")
    assert "/* ::pcomp_mutant(7) */ int a,\n      int b" in planted(text, [over])
    within = fault(find="a + b", within="// a", fault="a")
    assert planted(text, [within]).endswith("// (::pcomp_mutant(7) ? (a) : (a + b))\n}\n"), planted(text, [within])
    refused(lambda: planted(text, [fault(find="a + b", fault="a")]), "2 times: add a line 'within'")
    refused(lambda: planted(text, [fault(find="a - b", fault="a")]), "[one]: x does not hold 'a - b'")
    refused(lambda: planted(text, [fault(find="a", within="c * d", fault="b")]), "does not hold 'c * d'")
    refused(lambda: planted(text, [one, fault(find="a + b;", fault="a;")]), "overlap")
    refused(lambda: fault(find="a"), "needs a line 'fault' or a line 'plant'")
    refused(lambda: fault(find="a", fault="b", plant="MUTANT"), "needs a line 'fault' or a line 'plant'")
    refused(lambda: fault(find="a", plant="b"), "has no MUTANT")
    refused(lambda: parse("[a]\nfile x\nfind y\nfault z\nsee cpu\n[a]\n"), "a second [a]")
    refused(lambda: parse("[a]\nfiel x\n"), "unknown line")
    refused(lambda: parse("[a]\nfile x\nfind y\nfault z\n"), "has no line 'see'")
    listed = parse("# comment\n\n[a]\nfile x\nfind y\nfault z\nsee cpu: one | two ; cuda\n")
    assert listed[0].programs() == [("cpu", ["one", "two"]), ("cuda", [])], listed[0].programs()
    assert not pattern("int a").search("inta") and pattern("a->b").search("a -> b")
    with tempfile.TemporaryDirectory() as base:  # how a program ends
        script = pathlib.Path(base) / "program"
        program = Program("x", pathlib.Path(base))
        program.path = script
        for body, said in (("exit 0", ""), ("exit 3", "fails"), ("kill -SEGV $$", "crashes (SIGSEGV)"), ("sleep 60", "takes too long"),
                           ('test -z "$PCOMP_MUTANT"', "fails")):
            script.write_text("#!/bin/sh\n" + body + "\n")
            script.chmod(0o755)
            how = run(program, [], 5, 0.7 if "sleep" in body else 20, pathlib.Path(base) / "reached")[0]
            assert how == said, (body, how)
    print("the script finds, plants and judges")


def main():
    parser = argparse.ArgumentParser(prog="./dev mutate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show the faults and exit")
    parser.add_argument("--check", action="store_true", help="only see whether every fault still finds its place in the tree")
    parser.add_argument("--self-test", action="store_true", help="only test the script itself")
    parser.add_argument("--only", metavar="N", nargs="+", default=[],
                        help="only these faults: numbers, ranges (3-9) or parts of a name or file")
    parser.add_argument("--torch", action="store_true", help="also the faults that need LibTorch to be seen")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="compilers and programs at once")
    parser.add_argument("--build", metavar="DIR", default=root / "build" / "mutate", type=pathlib.Path,
                        help="where the copy and its build are kept (build/mutate)")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    faults = parse((here / "faults.txt").read_text())
    check(faults)
    if options.check:
        folders = {str(pathlib.Path(f.file).parent) for f in faults}
        print(f"{len(faults)} faults in {len(folders)} folders find their places")
        return
    chosen = [f for f in faults if options.torch or not f.torch] if not options.only else [f for f in faults if wanted(f, options.only)]
    if options.list:
        for f in chosen:
            print(f"{f.number:4}  {f.file:58}  {f.name}" + ("  (LibTorch)" if f.torch else ""))
        return
    if not chosen:
        raise Mistake("there is no such fault: --list shows all")
    work = options.build.resolve()
    tree, notes = work / "tree", work / "reached"
    notes.mkdir(parents=True, exist_ok=True)
    write_tree(tree, faults)
    places = {False: work / "core", True: work / "torch"}
    names = {kind: sorted({name for f in chosen if f.torch == kind for name, _ in f.programs()}) for kind in (False, True)}
    programs = {}
    for kind, those in names.items():
        if not those:
            continue
        print(f"building {', '.join('test-' + n for n in those)} with {len(faults)} faults that are off, in {places[kind]}", flush=True)
        given = ["-DPCOMP_TORCH=" + ("ON" if kind else "OFF")]
        if os.environ.get("PCOMP_LIBTORCH"):
            given.append("-DLibTorch_ROOT=" + os.environ["PCOMP_LIBTORCH"])
        build(places[kind], tree, those, given, options.jobs)
        programs[kind] = {n: Program(n, places[kind]) for n in those}
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        print("running them without any fault", flush=True)
        for p in pool.map(lambda p: measure(p, options.jobs), [p for kind in programs.values() for p in kind.values()]):
            print(f"  test-{p.name}: {p.seconds:.0f} s", flush=True)
        running = {pool.submit(judge, f, programs[f.torch], notes): f for f in chosen}
        results = {}
        for done in concurrent.futures.as_completed(running):
            fault = running[done]
            results[fault.number] = done.result()
            by, how, seconds, _ = results[fault.number]
            print(f"[{len(results)}/{len(chosen)}] {fault.number:3} {fault.name}: " + (f"test-{by} {how}" if by else "SURVIVES") +
                  f" ({seconds:.0f} s)", flush=True)
    report(chosen, results, work / "report.md", time.monotonic() - begin)
    if any(not results[f.number][0] and not f.survives for f in chosen):
        sys.exit(1)


def wanted(fault, words):
    for w in words:
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", w)
        if numbers and int(numbers[1]) <= fault.number <= int(numbers[2] or numbers[1]):
            return True
        if not numbers and (w in fault.name or w in fault.file):
            return True
    return False


def report(chosen, results, path, seconds):
    lines = ["| | fault | where | seen by | how |", "|---|---|---|---|---|"]
    for f in chosen:
        by, how, _, _ = results[f.number]
        lines.append(f"| {f.number} | {f.name} | {f.file} | {'test-' + by if by else '-'} | {how} |")
    survivors = [f for f in chosen if not results[f.number][0]]
    caught = len(chosen) - len(survivors)
    end = [f"{caught} of {len(chosen)} faults caught ({100 * caught / len(chosen):.1f} %), in {seconds:.0f} s after the build"]
    for f in survivors:
        reached = "" if results[f.number][3] else " (no program came to it)"
        end.append(f"survivor {f.number}, {f.name}, {f.file}{reached}: {f.survives or 'not explained'}")
    path.write_text("\n".join(lines + [""] + end) + "\n")
    print("\n".join(["", *lines, "", *end, f"The table is in {path}."]))


if __name__ == "__main__":
    try:
        main()
    except Mistake as mistake:
        sys.exit(f"mutate: {mistake}")
    except KeyboardInterrupt:
        sys.exit(130)
