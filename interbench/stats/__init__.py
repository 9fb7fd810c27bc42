"""Statistics: pooling raw scores to percentiles, intervals, paired comparisons, coverage, frozen pools.

Nothing here knows of run folders, systems or judges; it takes :class:`Scores` and gives figures. The names are imported
when they are used: who only wants :mod:`interbench.stats.colour` need not wait for the rest.
"""

from typing import TYPE_CHECKING

from interbench.base.lazy import on_demand

if TYPE_CHECKING:
    from interbench.stats.bootstrap import LEVEL, bootstrap_means, choose_replicates, interval, replicates_for
    from interbench.stats.comparison import Comparison, PairedDifference, compare, holm, permutation_test
    from interbench.stats.correlation import Correlations, measure_correlations
    from interbench.stats.coverage import Coverage, Expected, measure_coverage
    from interbench.stats.overall import mean_of_dimensions, ranks
    from interbench.stats.pooling import Moments, Pool, make_pool, moments, percentiles, system_means
    from interbench.stats.read_csv import read_planned_scores, read_scores
    from interbench.stats.reference import JudgeLabel, ReferencePool
    from interbench.stats.repeats import Repeats, measure_repeats
    from interbench.stats.scores import KEYS, Cells, ScoreRecord, Scores
else:
    __getattr__ = on_demand(
        __name__,
        {
            "interbench.stats.bootstrap": (
                "LEVEL",
                "bootstrap_means",
                "choose_replicates",
                "interval",
                "replicates_for",
            ),
            "interbench.stats.comparison": (
                "Comparison",
                "PairedDifference",
                "compare",
                "holm",
                "permutation_test",
            ),
            "interbench.stats.correlation": (
                "Correlations",
                "measure_correlations",
            ),
            "interbench.stats.coverage": (
                "Coverage",
                "Expected",
                "measure_coverage",
            ),
            "interbench.stats.overall": (
                "mean_of_dimensions",
                "ranks",
            ),
            "interbench.stats.pooling": (
                "Moments",
                "Pool",
                "make_pool",
                "moments",
                "percentiles",
                "system_means",
            ),
            "interbench.stats.read_csv": (
                "read_planned_scores",
                "read_scores",
            ),
            "interbench.stats.reference": (
                "JudgeLabel",
                "ReferencePool",
            ),
            "interbench.stats.repeats": (
                "Repeats",
                "measure_repeats",
            ),
            "interbench.stats.scores": (
                "KEYS",
                "Cells",
                "ScoreRecord",
                "Scores",
            ),
        },
    )

__all__ = [
    "KEYS",
    "LEVEL",
    "Cells",
    "Comparison",
    "Correlations",
    "Coverage",
    "Expected",
    "JudgeLabel",
    "Moments",
    "PairedDifference",
    "Pool",
    "ReferencePool",
    "Repeats",
    "ScoreRecord",
    "Scores",
    "bootstrap_means",
    "choose_replicates",
    "compare",
    "holm",
    "interval",
    "make_pool",
    "mean_of_dimensions",
    "measure_correlations",
    "measure_coverage",
    "measure_repeats",
    "moments",
    "percentiles",
    "permutation_test",
    "ranks",
    "read_planned_scores",
    "read_scores",
    "replicates_for",
    "system_means",
]
