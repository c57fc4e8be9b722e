"""Fine-tune one adapter cell."""

from __future__ import annotations

from glmstore.config import Settings
from glmstore.extraction import resolve_device
from glmstore.finetuning import FineTuneSettings, adapter_names, run_cell
from glmstore.results import Cell
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.policies import alone, compute_task


@compute_task("lora on {cell.benchmark} with {cell.model}")
def finetune_adapter(store: str, cell: Cell, settings: FineTuneSettings, *, force: bool = False) -> str:
    """Train, save and judge the adapters of one cell; return the cell's key."""
    opened, beside = FeatureStore.open(store), Workspace.of(store)
    with alone(store, cell.key):
        if force or not opened.completed([cell.key]):
            with beside.working_on("adapters", adapter_names(cell)) as adapters:
                device = resolve_device(Settings().device)
                outcome = run_cell(opened, cell, settings, adapters, device=device)
            opened.write_results(outcome.rows, outcome.predictions)
    return cell.key
