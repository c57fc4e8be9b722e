"""What a run would take, before it runs: sequences, vectors, bytes, memory, time, money."""

from glmstore.estimating.dry_runs import (
    adapters_dry_run,
    explanations_dry_run,
    features_dry_run,
    probes_dry_run,
    suite_dry_run,
    variants_dry_run,
)
from glmstore.estimating.embedding import plan_embedding
from glmstore.estimating.features import FeatureEstimate, FeatureRequest
from glmstore.estimating.plan import Plan, Unplanned, Work
from glmstore.estimating.pretraining import pretraining_dry_run
from glmstore.estimating.quantity import Quantity
from glmstore.estimating.upkeep import leaderboard_dry_run, maintenance_dry_run
from glmstore.estimating.words import markdown, summary

__all__ = [
    "FeatureEstimate",
    "FeatureRequest",
    "Plan",
    "Quantity",
    "Unplanned",
    "Work",
    "adapters_dry_run",
    "explanations_dry_run",
    "features_dry_run",
    "leaderboard_dry_run",
    "maintenance_dry_run",
    "markdown",
    "plan_embedding",
    "pretraining_dry_run",
    "probes_dry_run",
    "suite_dry_run",
    "summary",
    "variants_dry_run",
]
