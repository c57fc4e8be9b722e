"""Keep the store fast and small: merge small files, remove what nobody can see any more."""

from __future__ import annotations

import logging
from datetime import timedelta

from prefect import State, flow
from prefect.states import Completed
from pydantic import Field

from flows.monitoring import WATCHED
from flows.settings import StoreConfig
from glmstore.estimating import Plan, maintenance_dry_run
from glmstore.upkeep import Upkeep
from tasks.estimating import publish_plan
from tasks.maintenance import maintain_tables, publish_upkeep

log = logging.getLogger("glmstore.flows")


class MaintainStoreConfig(StoreConfig):
    """Which store is kept in order, and how long old versions stay."""

    keep_hours: float = Field(
        1.0,
        ge=1.0,
        description="Versions younger than this stay for readers that hold no tag [hours]. "
        "Snapshots and scans in progress stay whatever their age.",
    )


@flow(name="maintain-store", flow_run_name="maintain {config.place}", **WATCHED)
def maintain_store(config: MaintainStoreConfig) -> Upkeep | Plan | State[None]:
    """Merge, sweep and clean under a lease; where another run holds it, end without doing anything."""
    if config.dry_run:
        return publish_plan(maintenance_dry_run(config.store))
    upkeep = maintain_tables(config.store, timedelta(hours=config.keep_hours))
    if upkeep is None:
        log.info("another run keeps %s in order at this moment; nothing was done", config.store)
        return Completed(name="Skipped", message="Another run keeps this store in order; nothing was done.")
    log.info(upkeep.sentence)
    publish_upkeep(upkeep)
    return upkeep
