"""Lists of runs: each line is WIRES CUTS RECIPES SEEDS [OPTIONS OF THE PROGRAM], and each combination is a run."""
import dataclasses
import functools
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent / "lists"


class ListError(Exception):
    pass


def plain(value):
    """A number in its shortest spelling; any other value as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number.is_integer() else repr(number)


@functools.cache
def canonical(options):
    """The same text for the same options in any order and spelling: '--lr=0.10 --epochs 2' is '--epochs 2 --lr 0.1'."""
    pairs = []
    for word in options.split():
        name, given, value = word.partition("=")
        if word.startswith("--") or not pairs:
            pairs.append([name] + [plain(value)] * bool(given))
        else:
            pairs[-1].append(plain(word))
    return " ".join(word for pair in sorted(pairs) for word in pair)


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run, identified by all that decides its numbers: its key."""
    wire: str
    cut: str
    recipe: str
    seed: int
    options: tuple = ()

    @property
    def name(self):
        """The name of its folder: wire-cut-recipe-sSEED, then the options without their dashes."""
        more = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(self.options)).strip("-")
        return f"{self.wire}-{self.cut}-{self.recipe}-s{self.seed}" + (f"-{more}" if more else "")

    @property
    def key(self):
        return self.wire, self.cut, self.recipe, str(self.seed), canonical(" ".join(self.options))

    def words(self):
        return ["--wire", self.wire, "--cut", self.cut, "--recipe", self.recipe, "--seed", str(self.seed), *self.options]


def seeds(text, where):
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ListError(f"{where}: seeds '{text}': expected numbers and ranges, such as 1-3 or 1,2,5")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def each_once(jobs):
    """Each job once, as the first list spells it; in order of seeds, lowest first."""
    found = {}
    for job in jobs:
        found.setdefault(job.key, job)
    return sorted(found.values(), key=lambda job: job.seed)


def read(file):
    """What a list is for, as its first comment says, and its jobs in order of seeds, lowest first."""
    about, jobs = "", []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.startswith("#") and not about:
            about = line.lstrip("# ")
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{file.name}:{number}"
        if len(words) < 4 or any(w.startswith("-") for w in words[:4]) or (words[4:] and not words[4].startswith("--")):
            raise ListError(f"{where}: expected WIRES CUTS RECIPES SEEDS [--OPTION VALUE ...], got '{line.strip()}'")
        jobs += [Job(wire, cut, recipe, seed, tuple(words[4:])) for seed in seeds(words[3], where)
                 for recipe in words[2].split(",") for cut in words[1].split(",") for wire in words[0].split(",")]
    if not jobs:
        raise ListError(f"{file.name}: there is no run in it")
    return about, each_once(jobs)


def find(name):
    """A list by its name in lists/ or by its path."""
    for file in (HERE / f"{name}.txt", pathlib.Path(name)):
        if file.is_file():
            return file
    known = ", ".join(sorted(f.stem for f in HERE.glob("*.txt")))
    raise ListError(f"there is no list '{name}': {known} are known, and a file may be named by its path")


def read_all(names):
    return each_once(job for name in names for job in read(find(name))[1])


@functools.cache
def wires(program, *options):
    """The output of --list-wires; a mistake in the options raises ListError with the program's own message."""
    try:
        done = subprocess.run([program, "--list-wires", *options], capture_output=True, text=True)
    except OSError as e:
        raise ListError(f"{program}: {e.strerror}: ./dev study builds it") from e
    if done.returncode:
        raise ListError(f"{' '.join(options)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def check(program, jobs):
    """Checks that every wire, cut, recipe and option is known, before anything is started."""
    for job in jobs:
        mixed = ["--wire", job.wire] if "+" in job.wire else []  # one wire per boundary: listed only on request
        table = wires(program, "--cut", job.cut, "--recipe", job.recipe, *mixed, *job.options)
        if job.wire not in re.findall(r"^\S+", table, re.M):
            wires(program, "--wire", job.wire)  # raises, suggesting the name that was meant
        if not re.search(r"boundary \d", table):
            raise ListError(f"--cut {job.cut}: expected a cut with a boundary, for the study counts its bytes; raw at any "
                            "other trains the same")
