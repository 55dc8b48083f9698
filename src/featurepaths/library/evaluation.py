"""The evaluation of one defence on one set of images: its table, its verdict, and the records of every image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from featurepaths.defense.frozen import FrozenDefense
from featurepaths.experiment.run import Run
from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.results import Result
from featurepaths.report.tables.adaptive import evaluation_table
from featurepaths.report.tables.table import as_text, note_of
from featurepaths.report.verdict.rules import Case
from featurepaths.report.verdict.text import summary_paragraph


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of `featurepaths.library.defense.FeaturePathDefense.evaluate`.

    As text, and in a notebook, it is its verdict and its table.

    Attributes
    ----------
    defense
        The defence that was attacked.
    counts
        The counts of all attacks, by the keys of the workflow's ``adaptive/<pooling>.json``: see docs/artefacts.md.
    records
        What is known of every image, arrays [N] by the names of ``adaptive/<pooling>.h5``: ``labels``, ``index``,
        ``attacks/<attack>/label`` and so on.
    adversarial
        Examples, float32 [N, C, H, W] on the CPU: those of the oblivious attack by their names, such as
        ``apgd.max-loss``, and ``worst``, one that defeats the defence wherever an attack found one.
    doubts
        Names of the `featurepaths.networks.warnings.DOUBTS` about the network.
    """

    defense: FrozenDefense
    counts: Mapping[str, Any]
    records: Mapping[str, np.ndarray]
    adversarial: Mapping[str, Tensor]
    doubts: Sequence[str]

    @property
    def table(self) -> pd.DataFrame:
        """Accuracies, fractions with Wilson's 95 % interval: clean, under every attack, and in the worst case."""
        return evaluation_table(self.counts)

    @property
    def verdict(self) -> str:
        """Remaining robustness under an attacker who knows the defence, in the sentences of the workflow's report."""
        model = type(self.defense.encoder.network.network).__name__
        result = Result(_Network(model, "", 0), self.counts, self.defense.pooling)
        case = Case(result, {"adversarial": False}, checks=None)
        return " ".join([summary_paragraph([case]), case.chance, *(DOUBTS[doubt] for doubt in self.doubts)]).strip()

    def __str__(self) -> str:
        table = self.table
        return f"{self.verdict}\n\n{as_text(table).to_string(index=False)}\n\n{note_of('evaluation', table)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.table
        verdict, note = (f"<p>{escape(text)}</p>" for text in (self.verdict, note_of("evaluation", table)))
        return f"{verdict}\n{as_text(table).to_html(index=False, border=0)}\n{note}"


class _Network(Run):
    """A network that no workflow trained; as text, the name of its class."""

    def __str__(self) -> str:
        return self.model
