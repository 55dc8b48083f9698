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
    """How work is split over several GPUs; changes no result."""

    attacks: int = Field(1, ge=1)
    """Jobs that each attack is split into."""
    features: int = Field(1, ge=1)
    """Jobs that each extraction of features is split into, or, where features are streamed, the feature paths of some
    images; one passes through the network once, an attack 40 times."""


class Features(Section):
    """What is kept of the layers' outputs."""

    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(distinct)] = [
        "flatten",
        "mean",
    ]
    """`flatten` takes every value of a layer (the paper's reading), `mean` the average of each channel."""
    storage: Literal["store", "temporary", "stream"] = "store"
    """Where features are between the stages. `store` dumps them to disk, by far the largest artefacts; `temporary`
    removes a dump once nothing needs it any more; `stream` dumps nothing: networks run again wherever features are
    needed, at the same results but for float16's rounding."""


class Collapsed(Section):
    """When a layer counts as collapsed."""

    pfc3_threshold: Annotated[Exact, Field(gt=0, le=1)] = Fraction(99, 100)
    """Training accuracy of the nearest class mean from which on a layer counts as collapsed."""


class CalibrationAttack(Section):
    """The attack whose examples the held-out defence is calibrated on."""

    attack: str
    stopping_rule: AnyStoppingRule


class Detection(Section):
    """How adversarial images are told from clean ones."""

    layers: Literal["auto"] | Layers = "auto"
    """Layers of the score, numbered from 1; `auto` takes those before collapse."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (3); a list sums to 1 and needs `layers` to be one."""
    false_positive_rates: Rates = [Fraction(5, 100), Fraction(1, 100)]
    """Shares of clean calibration images that further held-out thresholds may flag: `fpr-5` and `fpr-1`."""


class Recognition(Section):
    """How flagged images are recognised."""

    layers: Literal["auto"] | Layers = "auto"
    """Voting layers, numbered from 1; `auto` takes the `top` of greatest adversarial accuracy."""
    top: int = Field(3, ge=1)
    """How many layers `auto` takes: the paper's L', or all if the network has fewer than that default."""
    weights: Weights = "equal"
    """Weights of those layers in eq. (6); a list sums to 1 and needs `layers` to be one."""
    tie_break: Literal["last-layer", "summed-similarity"] = "last-layer"
    """Who wins an even vote: the last layer's class (the paper's sentence) or the class of greater similarity."""
    combinations: Literal["auto"] | Combined = "auto"
    """Layers whose subsets of two or more fill Table 3, or none; `auto` takes those of 2, 3 and 4 that there are."""


class Controls(Section):
    """Whether the adaptive attacks' failures mean robustness or masked gradients."""

    max_images: int = Field(200, ge=1)
    """How many of the adaptively attacked images, evenly spaced."""
    eps_multiples: Annotated[list[Annotated[Exact, Field(ge=0)]], Field(min_length=1), AfterValidator(ascending)] = [
        Fraction(0),
        Fraction(1, 4),
        Fraction(1, 2),
        Fraction(1),
        Fraction(2),
        Fraction(4),
        Fraction(8),
    ]
    """Radii, as multiples of the attack's eps; the greatest should leave no image right."""
    iterations: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(ascending)] = [
        10,
        20,
        40,
        80,
    ]
    """Growing budgets, each spent on what the ones before left standing."""
    restarts: int = Field(1, ge=0)
    """Further random starts of the greatest of them."""
    n_queries: int = Field(1000, ge=1)
    """Queries of the black-box attack (Square), for each image."""


class Adaptive(Section):
    """Attackers who know the whole defence: network, centroids, layers, threshold and vote."""

    attack: str
    """The AutoPGD attack whose norm, eps and images they take; its examples, made without knowledge of the defence,
    count in the worst case too."""
    max_images: int | None = Field(None, ge=1)
    """Attack only so many of its images, evenly spaced."""
    poolings: Annotated[list[Pooling], Field(min_length=1), AfterValidator(distinct)] | None = None
    """Attack the defences of these poolings; null for all of `features.poolings`."""
    objectives: Annotated[list[Objective], Field(min_length=1), AfterValidator(distinct)] = [
        "evade",
        "misvote",
        "match-features",
        "selective",
        "orthogonal",
    ]
    """What is maximised: see docs/method.md."""
    losses: Annotated[list[Literal["ce", "dlr"]], Field(min_length=1), AfterValidator(distinct)] = ["ce", "dlr"]
    """Each objective is searched with each. `dlr` needs three classes, and four where it has a target: of fewer the
    default leaves it out."""
    n_targets: int = Field(3, ge=0)
    """So many of the most likely wrong classes are aimed at as well, where untargeted attacks failed; of few classes
    the default is all that are wrong."""
    restarts: int = Field(1, ge=1)
    """Random starts of the untargeted attacks; those after the first only where all failed."""
    skip_defeated: bool = False
    """Whether each search attacks only what the ones before left standing: the same worst case in less time, but what
    the later ones can do by themselves is not told."""
    iterations: int = Field(20, ge=1)
    step: Positive | None = None
    """Initial step; 2 eps when left out."""
    precision: Precision = "float32"
    """`bfloat16` only searches: its results are judged in float32. `auto` takes it where it is fast."""
    controls: Controls | None = Controls()
    """null runs none; the verdict then says so."""
