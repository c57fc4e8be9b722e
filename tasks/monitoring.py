"""What every process that runs flows or tasks does once, so that it can be watched."""

from __future__ import annotations

import logging
from functools import cache

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from glmstore.exporting import push_metrics
from glmstore.logs import LIBRARY, json_wanted, log_as_json


@cache
def watch_this_process() -> None:
    """Push metrics if an endpoint is set, and send the library's log to the Prefect UI, and out as asked."""
    push_metrics()
    if json_wanted():
        log_as_json(add_run_ids)
    if not any(isinstance(handler, APILogHandler) for handler in LIBRARY.handlers):
        to_server = APILogHandler()
        to_server.addFilter(_in_a_run)
        LIBRARY.addHandler(to_server)
    if LIBRARY.level == logging.NOTSET:
        LIBRARY.setLevel(logging.INFO)


def add_run_ids(record: logging.LogRecord) -> None:
    """Add the ids of the flow run and task run in which a record was made, where it was made in one."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None:
        record.task_run_id = str(task.task_run.id)
        record.flow_run_id = str(task.task_run.flow_run_id) if task.task_run.flow_run_id else None
    elif flow is not None and flow.flow_run is not None:
        record.flow_run_id = str(flow.flow_run.id)


def _in_a_run(_: logging.LogRecord) -> bool:
    """Whether the server can tell what a record belongs to."""
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None
