"""The webhook is told what failed, with a link, and that a store went stale: in words that any chat takes."""

import json

import pytest
from prefect.client.orchestration import get_client

pytestmark = pytest.mark.slow


def texts(told) -> list[str]:
    bodies = [json.loads(one.body) for one in told]
    assert all(set(body) == {"text"} for body in bodies)
    return [body["text"] for body in bodies]


def test_a_failed_run_is_told_with_what_it_said_and_where_to_look(service, until):
    with get_client(sync_client=True) as client:
        there = client.read_deployment_by_name("failing/failing")
        run = client.create_flow_run_from_deployment(there.id)
    until("the failure is told", lambda: [t for t in texts(service.told) if run.name in t], 120)
    (text,) = [text for text in texts(service.told) if run.name in text]
    assert text.startswith(f"glmstore: failing ({run.name}) ended Failed. ")
    assert 'ValueError: no "store" at\n{{ home }} \\ 5 %' in text
    assert text.endswith(f" {service.url}/runs/flow-run/{run.id}")
    assert {one.kind for one in service.told} == {"application/json"}


def test_a_store_without_upkeep_is_told_to_be_stale(service, until, stale_s):
    def stale() -> list[str]:
        return [text for text in texts(service.told) if "no upkeep" in text]

    found = until("the stale store is told", stale, stale_s + 60)
    said = f"glmstore: no upkeep and no build of features was completed for {stale_s:g} s. {service.url}/runs"
    assert set(found) == {said}
