"""Draw the loss curve of the confidence strategy's method card.

python benchmarks/plots/confidence_curve.py [FILE.svg]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from dataset_culling.strategies.confidence_loss import confidence_loss

CARD = Path(__file__).parents[2] / "components/dataset_culling/strategies/confidence/curve.svg"
TALK = (0.49, 0.69, 0.79, 1.0, 0.19)


def main() -> None:
    """Write the figure."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CARD
    mpl.rcParams.update({"svg.hashsalt": "confidence", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False})  # fmt: skip
    figure, (printed, scaled) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    x = np.linspace(0, 1, 401)
    printed.plot(x, confidence_loss(x), color="#0b5cad", label="as printed: ln, Q=3, b=0.5")
    printed.plot(x, confidence_loss(x, q=4, log_base="10"), color="#c2571a", label="as released: log10, Q=4, b=0.5")
    printed.plot(x, confidence_loss(x, b=-0.5), color="#0b5cad", ls=":", label="b=-0.5: the intercept at zero")
    printed.plot(TALK, confidence_loss(np.array(TALK)), "o", color="#0b5cad", ms=4)
    printed.set(xlabel="detection confidence x", ylabel="L(x)", ylim=(-0.6, 3.0), title="What each box adds")
    printed.axhline(0, color="#999999", lw=0.6)
    printed.legend(frameon=False, fontsize=8, loc="upper right")
    for values, colour, name in (
        (confidence_loss(x, b=0), "#0b5cad", "printed, b left out"),
        (confidence_loss(x, q=4, b=0, log_base="10"), "#c2571a", "released, b left out"),
    ):
        scaled.plot(x, values / values.max(), color=colour, label=name)
    scaled.plot(x, confidence_loss(x, b=-0.5), color="#0b5cad", ls=":", label="printed, b=-0.5, not scaled")
    scaled.set(xlabel="detection confidence x", ylabel="share of its maximum", title="On the talk's axes, 0 to 1",
               ylim=(-0.02, 1.05), xticks=np.arange(0, 1.01, 0.25), yticks=np.arange(0, 1.01, 0.25))  # fmt: skip
    scaled.legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(target, metadata={"Date": None})
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
