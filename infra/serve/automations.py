"""Automations of the service: end runs that nobody carries on, and say what failed or went stale."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import (
    AutomationCore,
    CallWebhook,
    ChangeFlowRunState,
    DoNothing,
    EventTrigger,
    Posture,
)
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType

from infra.serve.options import Options

ELSEWHERE_S = 400.0
"""Patience with runs that this service did not start; they beat every 180 s, Prefect's default."""

HOOK = "glmstore-notifications"
_RUN = "prefect.flow-run."
_RUNNING = f"{_RUN}Running"
_BEAT = f"{_RUN}heartbeat"
_ENDS = {f"{_RUN}{name}" for name in ("Completed", "Skipped", "Failed", "Crashed", "Cancelled", "TimedOut")}
"""By the names of states, which flows may choose: maintain-store ends Skipped."""

_PENDING = {f"{_RUN}{name}" for name in ("Pending", "Submitting", "InfrastructurePending")}
_RESTS = {f"{_RUN}{name}" for name in ("Paused", "Suspended")}
_UPKEEP = ["maintain-store", "build-features"]
_RUNS = {"prefect.resource.id": f"{_RUN}*"}
_DEPLOYED = {"prefect.resource.role": "deployment"}

_FAILED = """{"text": {{ ("glmstore: " ~ flow.name ~ " (" ~ flow_run.name ~ ") ended " ~ flow_run.state.name
 ~ ". " ~ (flow_run.state.message or "") ~ " " ~ flow_run|ui_url) | tojson }}}"""
_STALE = '{"text": "glmstore: no upkeep and no build of features was completed for %s. %s/runs"}'


async def ensure_automations(client: PrefectClient, options: Options) -> list[AutomationCore]:
    """Create the automations, or bring those of the same names up to date; return them as they are then.

    One that is as it should be is left alone: a change would start its clocks anew. Whether one is switched
    off stays as the user left it, and so does whom it tells, beside the webhook that is given.
    """
    hook = await _hook(options.notify_url) if options.notify_url else None
    found = []
    for wanted in _wanted(options, hook):
        there = await client.read_automations_by_name(wanted.name)
        if not there:
            await client.create_automation(wanted)
            found.append(wanted)
            continue
        kept = wanted.model_copy(update=_kept(there[0], wanted, hook))
        if _told(there[0]) != _told(kept):
            await client.update_automation(there[0].id, kept)
        found.append(kept)
    return found


def notifies(automation: AutomationCore) -> bool:
    """Return whether an automation tells anybody anything."""
    return automation.enabled and not isinstance(automation.actions[0], DoNothing | ChangeFlowRunState)


def _kept(there: AutomationCore, wanted: AutomationCore, hook: UUID | None) -> dict[str, Any]:
    """Return what of an automation that is there stays as it is."""
    (own,) = wanted.actions
    if isinstance(own, ChangeFlowRunState):
        actions = wanted.actions
    elif hook is None or own in there.actions:
        actions = there.actions
    else:
        others = [action for action in there.actions if not isinstance(action, DoNothing)]
        theirs = [action for action in others if getattr(action, "block_document_id", None) != hook]
        actions = [own, *theirs]
    return {"enabled": there.enabled, "actions": actions}


def _wanted(options: Options, hook: UUID | None) -> Iterator[AutomationCore]:
    yield _silent("zombie runs", options.silent_s, "a worker of this service", match_related=_DEPLOYED)
    yield _silent("zombie runs elsewhere", max(ELSEWHERE_S, options.silent_s), "any process")
    yield _unbegun(options.unbegun_s)
    yield AutomationCore(
        name="failed runs",
        description="Tell of deployed runs that failed or crashed.",
        trigger=EventTrigger(
            match=_RUNS,
            match_related=_DEPLOYED,
            expect={f"{_RUN}{name}" for name in ("Failed", "Crashed", "TimedOut")},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[_tell(hook, _FAILED)],
    )
    yield AutomationCore(
        name="stale store",
        description=f"Tell when none of {' and '.join(_UPKEEP)} was completed for {_span(options.stale_s)}.",
        trigger=EventTrigger(
            match=_RUNS,
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": _UPKEEP},
            expect={f"{_RUN}Completed"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=options.stale_s),
        ),
        actions=[_tell(hook, _STALE % (_span(options.stale_s), options.seen_as))],
    )


def _silent(
    name: str, seconds: float, whose: str, match_related: dict[str, str] | None = None
) -> AutomationCore:
    """End runs that fell silent; Running counts too, for who is killed at once leaves no heartbeat."""
    return AutomationCore(
        name=name,
        description=f"Mark a run of {whose} as Crashed when it gave no sign of life for {_span(seconds)}.",
        trigger=_unless({_BEAT, *_ENDS, *_RESTS}, {_RUNNING, _BEAT}, seconds, match_related or {}),
        actions=[_crash(f"No sign of life for {_span(seconds)}: its process or machine is gone.")],
    )


def _unbegun(seconds: float) -> AutomationCore:
    """End runs that were handed to a worker and of which nothing more was heard.

    Whatever happens to a run counts, its heartbeat too: a server that was restarted in between holds Running
    back. To be Pending once more starts the clock anew.
    """
    return AutomationCore(
        name="runs that never began",
        description=f"Mark a run as Crashed when {_span(seconds)} after being submitted it has not begun.",
        trigger=_unless({f"{_RUN}*"}, _PENDING, seconds, _DEPLOYED),
        actions=[_crash(f"Did not begin within {_span(seconds)}: its worker or machine is gone.")],
    )


def _unless(expect: set[str], after: set[str], seconds: float, match_related: dict[str, str]) -> EventTrigger:
    """Fire for each run to which nothing of `expect` happens within `seconds` of something of `after`."""
    return EventTrigger(
        match=_RUNS,
        match_related=match_related,
        for_each={"prefect.resource.id"},
        after=after,
        expect=expect,
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=seconds),
    )


def _crash(message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.CRASHED, message=message)


def _tell(hook: UUID | None, payload: str) -> CallWebhook | DoNothing:
    return DoNothing() if hook is None else CallWebhook(block_document_id=hook, payload=payload)


async def _hook(url: str) -> UUID:
    block = Webhook(method="POST", url=url, headers={"Content-Type": "application/json"})
    return await block.asave(HOOK, overwrite=True)


def _told(automation: AutomationCore) -> dict[str, object]:
    """Return what of an automation is ours to say; sets in one order, which hash seeds do not change."""
    told = AutomationCore(
        name=automation.name,
        description=automation.description,
        trigger=automation.trigger,
        actions=automation.actions,
    ).model_dump(mode="json", exclude={"enabled", "owner_resource"})
    return told | {"trigger": _in_order(told["trigger"])}


def _in_order(value: Any) -> Any:
    """Sort every list of a trigger: in none of them does the order mean anything."""
    if isinstance(value, dict):
        return {key: _in_order(part) for key, part in value.items()}
    return sorted(map(_in_order, value), key=json.dumps) if isinstance(value, list) else value


def _span(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
