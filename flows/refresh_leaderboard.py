"""Write the leaderboard and the report anew from what the store holds."""

from __future__ import annotations

from prefect import flow

from flows.monitoring import WATCHED
from flows.settings import StoreConfig
from glmstore.estimating import Plan, leaderboard_dry_run
from tasks.estimating import publish_plan
from tasks.maintenance import refresh_report


class RefreshLeaderboardConfig(StoreConfig):
    """Which store is read."""


@flow(name="refresh-leaderboard", flow_run_name="leaderboard of {config.place}", **WATCHED)
def refresh_leaderboard(config: RefreshLeaderboardConfig) -> str | Plan:
    """Compute no cell; write the report and show the leaderboard; return the report's place."""
    if config.dry_run:
        return publish_plan(leaderboard_dry_run(config.store))
    return refresh_report(config.store)
