"""The searches of the adaptive attacks that the number of classes allows. Nothing here needs torch."""

from collections.abc import Sequence

from featurepaths.errors import FeaturePathsError

DLR_CLASSES = {"untargeted": 3, "targeted": 4}
"""Classes that the difference of logits ratio needs: it divides by the third greatest logit, or the fourth too."""


def possible_losses(losses: Sequence[str], classes: int, *, targeted: bool = False) -> list[str]:
    """Return the losses that this number of classes allows."""
    least = DLR_CLASSES["targeted" if targeted else "untargeted"]
    return [loss for loss in losses if loss != "dlr" or classes >= least]


def left_out(losses: Sequence[str], targets: int, classes: int) -> list[str]:
    """Return descriptions of the searches of the adaptive attacks that this number of classes does not allow."""
    descriptions = []
    if "dlr" in losses and classes < DLR_CLASSES["untargeted"]:
        descriptions.append("dlr, which needs 3 classes")
    elif targets and not possible_losses(losses, classes, targeted=True):
        descriptions.append("targeted dlr, which needs 4 classes")
    if targets >= classes:
        descriptions.append(f"{targets - classes + 1} of {targets} targets (wrong classes: {classes - 1})")
    return descriptions


def check_losses(losses: Sequence[str], targets: int, classes: int) -> str:
    """Return the descriptions of `left_out` as one text, empty without any; FeaturePathsError if no loss remains."""
    if not possible_losses(losses, classes):
        raise FeaturePathsError(f"losses: dlr needs at least three classes, and there are {classes}; use [ce].")
    return " and ".join(left_out(losses, targets, classes))
