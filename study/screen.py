"""Lines that show the runs' progress: redrawn in place on a terminal, elsewhere one line per event."""
import shutil
import sys


def time_text(seconds):
    s = int(seconds + 0.5)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02} min"


class Screen:
    def __init__(self, width):
        self.live = sys.stdout.isatty()
        self.width = width  # of the longest name
        self.drawn = 0

    def say(self, name, what):
        """Prints a line that stays, above the redrawn ones."""
        self.wipe()
        print(f"{name:{self.width}}  {what}" if name else what, flush=True)

    def wipe(self):
        if self.drawn:
            sys.stdout.write(f"\033[{self.drawn}A\033[J")
            self.drawn = 0

    def draw(self, running, foot):
        self.wipe()
        columns = shutil.get_terminal_size().columns - 1
        lines = [f"{run.name:{self.width}}  {self.state(run)}" for run in running] + [foot]
        sys.stdout.write("".join(line[:columns] + "\n" for line in lines))
        sys.stdout.flush()
        self.drawn = len(lines)

    @staticmethod
    def state(run):
        if not run.epochs:
            return f"starts{f' behind epoch {run.epoch - 1}' if run.epoch > 1 else ''}"
        full = int(12 * run.share())
        left = run.left()
        return (f"[{'=' * full}{' ' * (12 - full)}] epoch {run.epoch}/{run.epochs} {run.percent:3} %"
                f"{f'  accuracy {run.accuracy} %' if run.accuracy else ''}  {run.rate} images/s"
                f"{f'  {time_text(left)} left' if left is not None else ''}")
