"""Configuration of features, detection, recognition and adaptive attacks."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
)

from featurepaths.experiment.config.types import (
    AnyStoppingRule,
    Combined,
    Exact,
    Layers,
    Objective,
    Pooling,
    Positive,
    Precision,
    Rates,
    Section,
    Weights,
    ascending,
    distinct,
)


class Shards(Section):
    """Number of jobs that share work on several GPUs; changes no result."""

    attacks: int = Field(1, ge=1)
    """Number of jobs per attack."""
    features: int = Field(1, ge=1)
    """Number of jobs per extraction of features, or, where features are streamed, per computation of feature paths. An
    extraction takes one pass of the network, an attack 40."""


class Features(Section):
    """Which features are computed from the layers' outputs, and where they are stored."""

    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(distinct)] = [
        "flatten",
        "mean",
    ]
    """`flatten` uses every value of a layer (the paper's reading), `mean` the average of each channel."""
    storage: Literal["store", "temporary", "stream"] = "store"
    """`store` writes features to disk, by far the largest artefacts. `temporary` removes them once nothing needs them.
    `stream` writes none: the networks run again wherever features are needed, with the same results except for the
    rounding of float16."""


class Collapsed(Section):
    """When a layer counts as collapsed."""

    pfc3_threshold: Annotated[Exact, Field(gt=0, le=1)] = Fraction(99, 100)
    """A layer counts as collapsed if the training accuracy of its nearest class mean is at least this."""


class CalibrationAttack(Section):
    """The attack on whose examples the held-out defence is calibrated."""

    attack: str
    stopping_rule: AnyStoppingRule


class Detection(Section):
    """How adversarial images are distinguished from clean ones."""

    layers: Literal["auto"] | Layers = "auto"
    """Layers of the score, numbered from 1; `auto` selects those before collapse."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (3); a list must sum to 1 and requires a list of `layers`."""
    false_positive_rates: Rates = [Fraction(5, 100), Fraction(1, 100)]
    """Shares of clean calibration images that additional held-out thresholds may flag: `fpr-5` and `fpr-1`."""


class Recognition(Section):
    """How flagged images are recognised."""

    layers: Literal["auto"] | Layers = "auto"
    """Voting layers, numbered from 1; `auto` selects the `top` layers of greatest adversarial accuracy."""
    top: int = Field(3, ge=1)
    """Number of layers that `auto` selects: the paper's L'. The default adapts to networks with fewer layers."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (6); a list must sum to 1 and requires a list of `layers`."""
    tie_break: Literal["last-layer", "summed-similarity"] = "last-layer"
    """Winner of a tied vote: the last layer's class (the paper's sentence) or the class of greater similarity."""
    combinations: Literal["auto"] | Combined = "auto"
    """Layers whose subsets of two or more fill Table 3; an empty list for none. `auto` uses the existing ones of 2, 3
    and 4."""


class Controls(Section):
    """Controls that distinguish robustness from masked gradients where adaptive attacks fail."""

    max_images: int = Field(200, ge=1)
    """Number of adaptively attacked images to use, evenly spaced."""
    eps_multiples: Annotated[list[Annotated[Exact, Field(ge=0)]], Field(min_length=1), AfterValidator(ascending)] = [
        Fraction(0),
        Fraction(1, 4),
        Fraction(1, 2),
        Fraction(1),
        Fraction(2),
        Fraction(4),
        Fraction(8),
    ]
    """Radii, as multiples of the attack's eps; at the greatest one no image should be classified correctly."""
    iterations: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(ascending)] = [
        10,
        20,
        40,
        80,
    ]
    """Increasing budgets; each is spent on the images that the previous ones did not defeat."""
    restarts: int = Field(1, ge=0)
    """Additional random starts with the greatest of them."""
    n_targets: int = Field(5, ge=0)
    """Number of most likely wrong classes that the greatest budget also targets; it has all objectives and losses."""
    n_queries: int = Field(1000, ge=0)
    """Queries per image of the black-box attack (Square), which needs torchattacks; 0 for none."""


class AdaptiveSearch(Section):
    """How the attacker who knows the defence searches."""

    max_images: int | None = Field(None, ge=1)
    """Attack only this many of the attack's images, evenly spaced; null for all."""
    objectives: Annotated[list[Objective], Field(min_length=1), AfterValidator(distinct)] = [
        "misvote",
        "evade",
        "match-features",
        "selective",
        "orthogonal",
    ]
    """Objectives that are maximised, in this order: see docs/method.md."""
    losses: Annotated[list[Literal["ce", "dlr"]], Field(min_length=1), AfterValidator(distinct)] = ["ce", "dlr"]
    """Each objective is searched with each loss. `dlr` needs three classes, or four with a target; with fewer the
    default omits it."""
    n_targets: int = Field(3, ge=0)
    """Number of most likely wrong classes that are targeted, with the first loss, where untargeted attacks failed. The
    default is reduced to the number of wrong classes."""
    restarts: int = Field(1, ge=1)
    """Random starts of the untargeted attacks; those after the first run only where all attacks failed."""
    skip_defeated: bool = True
    """Whether each search attacks only the images that the previous ones did not defeat, and each image's search ends
    at its first success. It takes less time, but the success of later searches by themselves is not measured: `false`
    runs every untargeted search on every image to its end."""
    iterations: int = Field(20, ge=1)
    step: Positive | None = None
    """Initial step; null for 2 eps."""
    precision: Precision = "float32"
    """`bfloat16` applies to the search only: results are judged in float32. `auto` uses bfloat16 where it is fast."""


class Adaptive(AdaptiveSearch):
    """Attacks that know the whole defence: network, centroids, layers, threshold and vote."""

    attack: str
    """The AutoPGD attack whose norm, eps and images they use. Its examples, made without knowledge of the defence, also
    count in the worst case."""
    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(distinct)] | None = None
    """Poolings whose defences are attacked; null for all of `features.poolings`."""
    controls: Controls | None = Controls()
    """null runs no controls; the verdict then states this."""
