"""Draw the picture that explains S_max, Otsu's threshold and collapse, from an experiment's results.

python docs/concepts.py results/digits/resnet20-standard-s0    writes docs/images/concepts.png
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

from featurepaths.paths.equations import s_max, weights_of
from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt

ADVERSARIAL = style.ATTACKED[0]


def paths_of(run: Path, images: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the similarities [N, L, C], the labels [N] and the predictions [N] of a split's images."""
    with h5py.File(run / f"paths/flatten/{images}.h5") as file:
        return file["similarity"][:], file["labels"][:], file["logits"][:].argmax(axis=1)


def main(run: Path) -> None:
    """Draw the figure from a run's files."""
    clean, labels, predictions = paths_of(run, "test")
    attacked, attacked_labels, targets = paths_of(run, "test.apgd.max-loss")
    assert (labels == attacked_labels).all()
    thresholds = json.loads((run / "thresholds/flatten/feature-paths.held-out.json").read_text())
    scored, threshold = thresholds["layers"], thresholds["thresholds"]["otsu"]
    weights = weights_of("equal", len(scored))
    scores = {"clean": s_max(clean, scored, weights), "adversarial": s_max(attacked, scored, weights)}
    pfc3 = [layer["pfc3"] for layer in json.loads((run / "collapse/flatten.json").read_text())["layers"]]
    layers = np.arange(1, len(pfc3) + 1)
    # the first test image that is classified, and that the attacked network misclassifies and the threshold flags
    image = np.flatnonzero((predictions == labels) & (targets != labels) & (scores["adversarial"] < threshold))[0]

    figure, panels = plt.subplots(2, 2, figsize=(8.6, 7))
    axes = panels.ravel()
    for axis, kind, similarity, color in zip(axes, scores, (clean, attacked), (style.CLEAN, ADVERSARIAL), strict=False):
        truth, answer = labels[image], (predictions if kind == "clean" else targets)[image]
        others = axis.plot(layers, np.delete(similarity[image], [truth, answer], axis=1), color="0.8", linewidth=0.8)
        axis.plot(layers, similarity[image, :, truth], color="black", marker="o", label=f"true class: {truth}")
        if answer != truth:
            axis.plot(layers, similarity[image, :, answer], color=color, marker="s", label=f"prediction: {answer}")
        score = scores[kind][image]
        axis.hlines(score, scored[0], scored[-1], color=color, linewidth=3, label=f"$S_{{max}}$ = {score:.2f}")
        others[0].set_label("other classes")
        axis.axvspan(scored[-1] + 0.5, layers[-1] + 0.3, color="0.93", label="not in $S_{max}$")
        axis.set(title=f"feature path of one {kind} image", xlabel="layer", xticks=layers, ylim=(0.3, 1.02))
        axis.legend(loc="lower left", fontsize=8)
    axes[0].set_ylabel(style.SIMILARITY)
    bins = np.histogram_bin_edges(np.concatenate(list(scores.values())), bins=36)
    for kind, color in (("clean", style.CLEAN), ("adversarial", ADVERSARIAL)):
        axes[2].hist(scores[kind], bins, color=color, alpha=0.55, label=f"{kind} images")
        axes[2].axvline(scores[kind][image], color=color, linewidth=3, ymax=0.08)
    axes[2].axvline(threshold, color="black", label=f"Otsu's threshold {threshold:.2f}")
    axes[2].set(title="$S_{max}$ of all test images", xlabel="$S_{max}$ (flagged if left of the threshold)")
    axes[2].set(ylabel="images", ylim=(0, 44))
    axes[2].legend(loc="upper left", fontsize=8)
    axes[3].plot(layers, 100 * np.asarray(pfc3), color="black", marker="o")
    axes[3].axhline(99, color="black", linestyle="--", linewidth=1, label="99%: collapsed")
    axes[3].axvspan(scored[-1] + 0.5, layers[-1] + 0.3, color="0.93", label="not in $S_{max}$")
    axes[3].set(title="collapse of the layers", xlabel="layer", xticks=layers)
    axes[3].set_ylabel("training images nearest to\ntheir class mean (PFC3, %)")
    axes[3].legend(loc="upper left", fontsize=8)
    figure.savefig(Path(__file__).with_name("images") / "concepts.png", metadata=style.KINDS["png"][1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
