"""The pictures of docs/study.md, one module for each."""
import matplotlib.pyplot as plt

import ablations
import accuracy
import cuts
import training

PICTURES = {"accuracy": accuracy.draw, "training": training.draw, "cuts": cuts.draw, "ablations": ablations.draw}


def draw(name, study, folder, digest):
    """Writes RECIPE-NAME.svg and .png and returns their paths; None if the results do not suffice."""
    figure = PICTURES[name](study)
    if figure is None:
        return None
    files = [folder / f"{study.recipe}-{name}.{end}" for end in ("svg", "png")]
    figure.savefig(files[0], metadata={"Date": None, "Description": digest})
    figure.savefig(files[1], dpi=110, metadata={"Description": digest})
    plt.close(figure)
    return files
