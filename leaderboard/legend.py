"""What the words of the tables mean, said once; metrics are taken from `benchmark.metrics`."""

from benchmark.inference import FEWEST_BLOCKS, FEWEST_CLUSTERS, LEVEL, POWER, RESAMPLES
from benchmark.invariants import ULPS
from benchmark.metrics import METRICS, Metric
from benchmark.skill import FAILED
from benchmark.task import Task
from leaderboard.ranks import DIVERGED

SHOWN_METRICS = ("rmse", "crps_fair", "crps_ecdf", "variance_ratio", "effective_resolution", "fss",
                 "residual", "residual_ulps", "negatives")  # fmt: skip
"""Metrics of the tables on the index."""

DIRECTIONS = {
    "lower": "lower", "higher": "higher", "one": "nearer to 1", "zero": "nearer to 0",
    "none": "neither",
}  # fmt: skip


def shown_metrics() -> list[Metric]:
    """The metrics of the index, as they define themselves."""
    return [METRICS[name] for name in SHOWN_METRICS]


def legend(task: Task) -> list[tuple[str, str]]:
    """(term, meaning) of every column, in the order of the tables."""
    level = f"{100 * LEVEL:g} %"
    residual = METRICS["residual_ulps"].formula
    conservation = (
        f"How far block means of the prediction are from the coarse input, over all test regions: "
        f"the largest residual ({residual}; a hard layer holds it to {ULPS:g}) and the mean "
        f"residual, equal weight for each region and seed."
        if task.track == "perfect_model"
        else "How far block means of the prediction are from the coarse input. The two products "
        "differ, so a residual describes and violates nothing."
    )
    return [
        ("Skill", "1 − exp(mean over regions, equal weight, of ln(S / S_ref)), S the score of the "
         "table and S_ref that of its reference. 1 is perfect, 0 as good as the reference, −1 "
         "twice its error. With several seeds ln S is averaged over seeds too."),
        ("ID and OOD", "In distribution (ID): regions trained on, at later times. Out of "
         "distribution (OOD): regions never seen in training. Only the OOD skill ranks."),
        ("These regions", f"{level} interval of the skill when days are resampled (circular blocks "
         f"of {task.block_days} days, {RESAMPLES} resamples, the same for all rows and regions): a "
         f"claim about exactly these regions. A t interval with the resamples' standard deviation, "
         f"widened for few blocks; below {FEWEST_BLOCKS} blocks of days there is none: †."),
        ("New regions", f"{level} t interval over the regions' log-ratios, boxes closer than "
         f"{task.cluster_km:g} km counted as one cluster: a claim about regions like these. Below "
         f"{FEWEST_CLUSTERS} clusters: ‡."),
        ("Paired gap", "exp(mean over OOD regions of ln(S_zero_shot / S_oracle)) − 1: by how much "
         "the error is larger than that of the same model, constraint, skip and seeds trained on "
         "the OOD regions as well. A reference, not a bound; it can be negative. Nothing is ranked "
         "by it: a model that learns nothing has no gap."),
        ("Transfer regret", "The same ratio against the best committed oracle of the table, so "
         "that every row has one."),
        ("Rank group", f"Rows that cannot be told apart in these regions: group 1 is the {level} "
         f"model confidence set of the section (all pairs of rows, the same resampled days), group "
         f"2 that of the rest, and so on. Rows with less than {DIVERGED:g} skill are grouped among "
         f"themselves. None below {FEWEST_BLOCKS} blocks of days: †."),
        ("Smallest resolvable difference", f"By which share the scores of two rows must differ "
         f"for a {level} interval of their ratio to leave out 1 in {100 * POWER:g} % of worlds; "
         f"the median over the pairs of a section's rows, one number for each claim."),
        ("Seed spread", "Standard deviation of the OOD skill over training seeds. It is no part of "
         "the intervals."),
        ("Median, worst region", "Skill in the median and in the worst OOD region."),
        ("Best null", "The row without training that has the highest OOD skill in the table (★). "
         "▼ marks a trained row that does not beat it; on the pages of the regions, the best null "
         "of that region."),
        ("Variance ratio", "Pooled in each region, then exp of the mean log over regions and "
         "seeds: below 1 is too smooth, above 1 too rough."),
        ("Effective resolution", "The wavelength below which the prediction lacks power, exp of "
         "the mean log over OOD regions and seeds: a smooth model resolves only long waves."),
        ("Adds value down to", "The smallest blocks, in km, from which on the CRPS of block means "
         "beats the best null at every larger size too: the scale down to which a row is to be "
         "trusted at home (ID) and elsewhere (OOD)."),
        ("FSS", "Fractions skill score of the events and window in the heading, mean over OOD "
         "regions and seeds: 1 where events have the right frequency in every window. Missing "
         "where a region has no such event in prediction and truth."),
        ("Conservation", conservation),
        ("Negatives", "For variables that cannot be negative: mean over all test regions and "
         "seeds."),
        ("Failed", f"A region without a score, or with more than {FAILED:g} times the reference's. "
         "Nothing of another row depends on it: a failed oracle makes no gap and no regret."),
        ("Regime", "What a model saw of the target regions: zero_shot nothing, target_inputs their "
         "unlabelled coarse fields, few_shot some labelled days, oracle their labelled training "
         "days. Regimes are never ranked together."),
        ("Exposure", "What any pretraining has seen of the target regions. Exposed models stand "
         "apart."),
    ]  # fmt: skip
