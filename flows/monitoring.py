"""The hooks by which every flow lets itself be watched."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect import Flow, State
from prefect.client.schemas.objects import FlowRun
from prefect.flows import FlowStateHook

from glmstore.exporting import flush_metrics
from tasks.monitoring import watch_this_process


class Hooks(TypedDict):
    """Arguments of `prefect.flow`."""

    on_running: list[FlowStateHook[Any, Any]]
    on_completion: list[FlowStateHook[Any, Any]]
    on_failure: list[FlowStateHook[Any, Any]]


def _begin(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (Prefect's signature)
    watch_this_process()


def _end(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (Prefect's signature)
    """Push metrics when the outermost flow has ended: its process may live on, or be killed."""
    if flow_run.parent_task_run_id is None:
        flush_metrics()


WATCHED = Hooks(on_running=[_begin], on_completion=[_end], on_failure=[_end])
"""To be given to every flow: ``@flow(..., **WATCHED)``."""
