"""The experiment's tables, from what its stages counted. Rates are fractions; Markdown shows them in per cent."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from featurepaths.report import paper
from featurepaths.report.page import page
from featurepaths.statistics.metrics import wilson

RECOGNITION_KEYS = ["model", "training", "method", "pooling", "layers", "tie_break", "attack", "stopping_rule", "threat", "protocol",
                    "threshold_method", "seed"]  # fmt: skip
ACCURACIES = [f"{name}_accuracy{end}" for name in ("clean", "adversarial", "flagged") for end in ("", "_low", "_high")]
BY_GROUP = [f"{name}_accuracy{end}" for name in ("successful", "unsuccessful") for end in ("", "_low", "_high")]
GROUP_COUNTS = ["n_successful", "n_unsuccessful"]


@dataclass(frozen=True)
class Run:
    """One network: its name in the configuration, how it was trained or that it was given, its seed, its checkpoint."""

    model: str
    training: str
    seed: int
    checkpoint: Mapping[str, Any]

    @property
    def architecture(self) -> str | None:
        """Which of the paper's networks it is, if it is one."""
        return self.checkpoint["build"].get("architecture")

    @property
    def labels(self) -> dict[str, Any]:
        """The columns that name it."""
        return {"model": self.model, "training": self.training}


@dataclass(frozen=True)
class Evaluation:
    """What was counted of one detector on one attack and stopping rule, by protocol in `content`."""

    run: Run
    pooling: str
    detector: str
    attack: str
    stopping_rule: str
    content: Mapping[str, Any]

    @property
    def attacked(self) -> dict[str, Any]:
        """The columns that name the attack."""
        return {"attack": self.attack, "stopping_rule": self.stopping_rule, "threat": "oblivious"}


def architecture_table(runs: Iterable[Run]) -> pd.DataFrame:
    """Table 1: stages (the paper's K), shapes of their layers' outputs and blocks, counted from the built networks."""
    rows = []
    for run in {run.model: run for run in runs}.values():
        shapes = [tuple(layer["shape"]) for layer in run.checkpoint["layers"]]
        for shape in dict.fromkeys(shapes):
            rows.append(
                {
                    "model": run.model,
                    "K": len(set(shapes)),
                    "intermediate_dim": "×".join(map(str, shape)),
                    "blocks": shapes.count(shape),
                    "parameters": run.checkpoint["parameters"],
                }
            )
    return pd.DataFrame(rows)


def recognition_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Clean and adversarial accuracy of every network, undefended and with feature paths.

    By definition the undefended network gets none of the successful adversarial images right and all of the
    unsuccessful ones: its accuracies by group are left out. McNemar's p-values compare feature paths with it, on the
    clean images and (`mcnemar_p`) on the adversarial ones.
    """
    rows = []
    for found in evaluations:
        content, count = found.content, found.content["n"]
        counts = {"n": count, **{name: content[name] for name in GROUP_COUNTS}}
        where = {**found.run.labels, **found.attacked, "seed": found.run.seed, **counts}
        network = content["network"]
        rows.append(
            {
                **where,
                "method": "undefended",
                **rate("clean_accuracy", network["clean_correct"], count),
                **rate("adversarial_accuracy", network["adversarial_correct"], count),
            }
        )
        for protocol, defended in content["protocols"].items():
            for outcome in defended["outcomes"]:
                rows.append(
                    {
                        **where,
                        "method": "feature paths",
                        "pooling": found.pooling,
                        "layers": joined(defended["layers"]),
                        "tie_break": defended["tie_break"],
                        "protocol": protocol,
                        **_outcome(outcome, count),
                        **_by_group(outcome, content),
                    }
                )
    tests = ["clean_mcnemar_p", "mcnemar_p"]
    columns = [*RECOGNITION_KEYS, *ACCURACIES, *BY_GROUP, *tests, "n", *GROUP_COUNTS, "n_flagged"]
    table = pd.DataFrame(rows, columns=columns)
    # the undefended network was counted again for every pooling
    return table.astype({"n_flagged": "Int64"}).drop_duplicates(ignore_index=True)


def combinations_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Table 3: adversarial accuracy of the votes of middle layers, over all and over flagged images, by tie rule."""
    rows = [
        {
            **found.run.labels,
            "pooling": found.pooling,
            "layers": joined(tried["layers"]),
            "tie_break": tried["tie_break"],
            **found.attacked,
            "protocol": protocol,
            "seed": found.run.seed,
            **_outcome(tried, found.content["n"]),
            "n": found.content["n"],
        }
        for found in evaluations
        for protocol, defended in found.content["protocols"].items()
        # that of the selected layers, left out below, has the same columns
        for tried in [{**defended["outcomes"][0], "layers": [], "tie_break": ""}, *defended["combinations"]]
    ]
    table = pd.DataFrame(rows)
    table = table[table["layers"] != ""]
    return _as_configured(
        table, ["model", "training", "pooling", "attack", "stopping_rule", "seed", "layers", "tie_break", "protocol"]
    )


def detection_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """How well every detector tells adversarial from clean images, at each of its thresholds."""
    return pd.DataFrame(
        {
            **found.run.labels,
            "detector": found.detector,
            "pooling": found.pooling,
            "layers": joined(measured["layers"]),
            **found.attacked,
            "protocol": protocol,
            "seed": found.run.seed,
            **detection_columns(method, measured, found.content),
        }
        for found in evaluations
        for protocol, measured in found.content["protocols"].items()
        for method in measured["at_threshold"]
    )


def detection_columns(method: str, measured: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a detector at one of its thresholds."""
    at, intervals = measured["at_threshold"][method], measured["intervals"]
    n_clean, n_adversarial = content["n_clean"], content["n_adversarial"]
    detected, false = at["flagged_adversarial"], at["flagged_clean"]
    balanced = (detected / n_adversarial + 1 - false / n_clean) / 2
    columns = {"threshold": at["threshold"], "threshold_method": method}
    for metric, value in measured["ranking"].items():
        columns |= bounded(metric, value, *intervals[metric])
    auroc, interval = measured["successful"]["auroc"], measured["successful"]["interval"]
    if auroc is None:
        auroc, interval = math.nan, (math.nan, math.nan)
    return {
        **columns,
        **rate("detection_rate", detected, n_adversarial),
        **rate("false_positive_rate", false, n_clean),
        **bounded("balanced_accuracy", balanced, *intervals[f"balanced_accuracy.{method}"]),
        **bounded("successful_auroc", auroc, *interval),
        **rate("successful_detection_rate", at["flagged_successful"], content["n_successful"]),
        **rate("unsuccessful_detection_rate", at["flagged_unsuccessful"], content["n_unsuccessful"]),
        **{key: content[key] for key in ("n_clean", "n_adversarial", *GROUP_COUNTS)},
    }


def attack_table(found: Iterable[tuple[Run, str, Mapping[str, Any]]]) -> pd.DataFrame:
    """What every attack did to the undefended networks; records [N] of the images it attacked, by attack.

    `gradient_vanished` is the share of images whose gradient was zero in every pixel, or not finite in some, at some
    step; the loss and the norm are means over images of the adversarial examples that a stopping rule keeps. Neither
    steps nor gradients are known of attacks whose library only returns an example, nor queries of images that were made
    elsewhere.
    """
    table = pd.DataFrame(
        {
            **run.labels,
            "attack": attack,
            "stopping_rule": stopping_rule,
            "seed": run.seed,
            **rate("clean_accuracy", int(records["clean_correct"].sum()), len(records["clean_correct"])),
            **rate("success_rate", int(records["success"].sum()), int(records["clean_correct"].sum())),
            "gradient_vanished": (records["vanished_steps"] > 0).mean() if stopping_rule != "returned" else math.nan,
            "mean_first_fooled_step": _mean_step(records),
            "mean_loss": records[stopping_rule]["loss"].mean(),
            "mean_norm": records[stopping_rule]["norm"].mean(),
            "n_queries": int(records["n_queries"].max()),
            "n": len(records["clean_correct"]),
            "n_clean_correct": int(records["clean_correct"].sum()),
        }
        for run, attack, records in found
        for stopping_rule in records["stopping_rules"]
    )
    table["n_queries"] = table["n_queries"].astype("Int64").mask(table["n_queries"] < 0)
    return table


def _mean_step(records: Mapping[str, Any]) -> float:
    # a search in bfloat16 may not have noticed a success that float32 finds in the end
    noticed = records["success"] & (records["first_fooled_step"] >= 0)
    return pd.Series(records["first_fooled_step"][noticed]).mean()


def collapse_table(found: Iterable[tuple[Run, str, Mapping[str, Any]]]) -> pd.DataFrame:
    """PFC1, PFC2 and PFC3 of every run, pooling and layer."""
    return pd.DataFrame(
        {**run.labels, "seed": run.seed, "pooling": pooling, **layer}
        for run, pooling, content in found
        for layer in content["layers"]
    )


def accuracy_table(recognition: pd.DataFrame) -> pd.DataFrame:
    """Tables 2 and 4: the rows of the recognition table that the paper compares, at Otsu's threshold."""
    chosen = recognition[recognition["threshold_method"].isna() | (recognition["threshold_method"] == "otsu")]
    chosen = chosen[[*RECOGNITION_KEYS, *ACCURACIES, "n", "n_flagged"]]
    return _as_configured(
        chosen, ["model", "attack", "stopping_rule", "seed", "training", "method", "pooling", "protocol"]
    )


def _as_configured(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the rows by `columns`, each in the order in which its values were configured, missing values first.

    The undefended network comes first so, and a row under protocol `held-out` next to that under `paper`.
    """
    order = pd.DataFrame({column: pd.factorize(table[column])[0] for column in columns}, index=table.index)
    return table.loc[order.sort_values(columns, kind="stable").index].reset_index(drop=True)


def add_paper_numbers(tables: dict[str, pd.DataFrame], runs: Iterable[Run], attacks: Iterable[str]) -> None:
    """Put the paper's numbers beside measured ones of the same kind: of `attacks`, on CIFAR-10."""
    architecture = {run.model: run.architecture for run in runs}
    adversarial = {run.model + run.training: bool(run.checkpoint["adversarial"]) for run in runs}

    def training(row: pd.Series) -> str:
        return "adversarial" if adversarial[row["model"] + row["training"]] else "standard"

    def comparable(row: pd.Series) -> bool:
        papers = training(row) == "standard" and row["pooling"] == "flatten" and row["protocol"] == "paper"
        return papers and row["attack"] in attacks

    def accuracy(row: pd.Series, which: int) -> float | None:
        if row["attack"] not in attacks or (row["method"] == "feature paths" and not comparable(row)):
            return None
        return paper.ACCURACY.get((architecture[row["model"]], training(row), row["method"]), (None, None))[which]

    for name in ("accuracy", "recognition"):
        for which, column in enumerate(["paper_clean_accuracy", "paper_adversarial_accuracy"]):
            tables[name][column] = tables[name].apply(accuracy, axis=1, which=which).astype(float)
    tables["combinations"]["paper_flagged_accuracy"] = [
        float(
            paper.COMBINATIONS.get((architecture[row["model"]], row["layers"]), math.nan)
            if comparable(row)
            else math.nan
        )
        for _, row in tables["combinations"].iterrows()
    ]
    detection = tables["detection"]
    same = detection.apply(comparable, axis=1)
    detection["paper_detection_rate"] = detection["model"].map(architecture).map(paper.DETECTION_RATE).where(same)
    detection["paper_threshold"] = pd.Series(paper.THRESHOLD, detection.index).where(same)


def to_markdown(table: pd.DataFrame, title: str, note: str) -> str:
    """Return a table for people: rates in per cent with their interval, and what all rows share in one line above."""
    shown, shared = _readable(table)
    text = "\n\n".join([f"# {title}", note, *shared, shown.to_markdown(index=False, disable_numparse=True)])
    return f"{text}\n"


def to_html(table: pd.DataFrame, title: str, note: str) -> str:
    """Return the same table as a page of its own, for the report."""
    shown, shared = _readable(table)
    paragraphs = [re.sub("`(.*?)`", r"<code>\1</code>", escape(text)) for text in [note, *shared]]
    body = [f"<p>{paragraph}</p>" for paragraph in paragraphs]
    return page(title, "\n".join([*body, shown.to_html(index=False, border=0)]))


def _readable(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that tell rows apart, and a sentence about the others, if there are any."""
    shown, shared = pd.DataFrame(index=table.index), []
    for column in table.columns:
        name, values = column.replace("_", " "), table[column].dropna()
        if column.endswith(("_low", "_high")):
            continue
        if len(table) > 1 and values.nunique() == 1 and not pd.api.types.is_float_dtype(values):
            shared.append(f"{name} `{values.iloc[0]}`")
        else:
            shown[name] = _for_people(table, column)
    return shown, [f"The same wherever it applies: {', '.join(shared)}."] if shared else []


def _for_people(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column]
    if f"{column}_low" in table:
        low, high = table[f"{column}_low"], table[f"{column}_high"]
        return pd.Series(
            [_per_cent(*bounded) for bounded in zip(values, low, high, strict=True)], index=table.index, dtype=object
        )
    if column == "sd":
        return values.map(_per_cent)
    if column.endswith("_p"):
        return values.map(lambda value: "" if pd.isna(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}")
    if column.startswith("paper_") and column != "paper_threshold":
        return values.map(lambda value: "" if pd.isna(value) else f"{100 * value:.2f}")
    if pd.api.types.is_float_dtype(values):
        return values.map(lambda value: "" if pd.isna(value) else f"{value:.4f}")
    return values.astype(object).where(values.notna(), "").map(str)


def _per_cent(value: float, low: float = math.nan, high: float = math.nan) -> str:
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" if pd.isna(low) else f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def rate(name: str, successes: int, count: int) -> dict[str, float]:
    """Return the columns of a rate with Wilson's interval; NaN in [0, 1] where nothing was counted."""
    return bounded(name, successes / count if count else math.nan, *wilson(successes, count))


def bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Return the columns of a value with its interval."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _outcome(outcome: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {
        "threshold_method": outcome["threshold_method"],
        **rate("clean_accuracy", outcome["clean_correct"], count),
        **rate("adversarial_accuracy", outcome["adversarial_correct"], count),
        **rate("flagged_accuracy", outcome["flagged_correct"], outcome["flagged_adversarial"]),
        "n_flagged": outcome["flagged_adversarial"],
    }


def _by_group(outcome: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, float]:
    return {
        **rate("successful_accuracy", outcome["successful_correct"], content["n_successful"]),
        **rate("unsuccessful_accuracy", outcome["unsuccessful_correct"], content["n_unsuccessful"]),
        "clean_mcnemar_p": outcome["mcnemar"]["clean"]["p_value"],
        "mcnemar_p": outcome["mcnemar"]["adversarial"]["p_value"],
    }


def joined(layers: Iterable[int]) -> str:
    """Return layers as the tables write them: ``2+3+4``."""
    return "+".join(map(str, layers))
