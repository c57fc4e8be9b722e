"""prefect.yaml: every flow has a deployment, and every deployment's parameters fit its flow."""

import asyncio
import pkgutil
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.server.schemas.schedules import CronSchedule

import flows
from flows.settings import Foreseeable
from glmstore.models import get_model
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining.train import lr_multiplier

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = {d["name"]: d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
POOLS = {"cpu", "gpu"}


def flow_of(deployment: dict) -> Flow:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


def all_flows() -> set[str]:
    """Return module and name of every flow that a module of flows/ defines."""
    found = set()
    for info in pkgutil.iter_modules(flows.__path__):
        module = import_module(f"flows.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, Flow) and value.fn.__module__ == module.__name__:
                found.add(f"{module.__name__}.{name}")
    return found


def test_every_flow_has_a_deployment_and_every_deployment_a_flow():
    assert len(all_flows()) >= 9
    assert {d["entrypoint"] for d in DEPLOYMENTS.values()} == all_flows()


@pytest.mark.parametrize("entrypoint", sorted(all_flows()))
def test_a_flow_takes_one_config_whose_every_field_is_described(entrypoint: str):
    flow = flow_of({"entrypoint": entrypoint})
    assert list(flow.parameters.properties) == ["config"]
    config = next(iter(flow.fn.__annotations__.values()))
    module = import_module(entrypoint.rpartition(".")[0])
    model = getattr(module, config)
    assert issubclass(model, Foreseeable)
    assert model.model_config["frozen"]
    schema = model.model_json_schema()
    shown = [schema, *schema.get("$defs", {}).values()]
    fields = [(part["title"], name, f) for part in shown for name, f in part.get("properties", {}).items()]
    assert [(title, name) for title, name, field in fields if not field.get("description")] == []


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_described_tagged_and_goes_to_a_pool_there_is(name: str):
    deployment = DEPLOYMENTS[name]
    pool = deployment["work_pool"]["name"]
    assert deployment["description"].endswith((".", ". "))
    assert pool in deployment["tags"]
    assert pool in POOLS
    assert isinstance(flow_of(deployment), Flow)


@pytest.mark.parametrize("name", [n for n, d in DEPLOYMENTS.items() if "schedules" in d])
def test_the_schedule_of_a_deployment_has_a_next_time(name: str):
    for schedule in DEPLOYMENTS[name]["schedules"]:
        parsed = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        (first,) = asyncio.run(parsed.get_dates(1))
        assert first > datetime.now(UTC)


def test_upkeep_is_scheduled_from_the_start_and_never_runs_twice_at_once():
    deployment = DEPLOYMENTS["maintain-store"]
    assert all(schedule.get("active", True) for schedule in deployment["schedules"])
    limit = ConcurrencyLimitConfig.model_validate(deployment["concurrency_limit"])
    assert (limit.limit, limit.collision_strategy.value) == (1, "CANCEL_NEW")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_parameters_of_a_deployment_fit_its_flow(name: str):
    flow = flow_of(DEPLOYMENTS[name])
    given = DEPLOYMENTS[name]["parameters"]
    if given:
        assert set(flow.validate_parameters(given)) == set(flow.parameters.properties)


def test_the_full_size_gpn_is_trained_as_the_paper_says():
    deployment = DEPLOYMENTS["pretrain-gpn-human"]
    training = flow_of(deployment).validate_parameters(deployment["parameters"])["config"].training
    assert training.architecture == GPNConfig()
    assert (training.steps, training.crop_lengths, training.mask_fraction) == (2_000_000, (512,), 0.15)
    assert training.holdout.names == ("chr8",)
    assert not training.holdout.uses("chr8_KI270810v1_alt")
    assert training.holdout.holds("chr8")
    rates = {
        training.learning_rate * lr_multiplier(p, training.warmup_fraction, training.final_lr_fraction)
        for p in (0, 0.3, 1)
    }
    assert rates == {1e-3}
    assert (training.weight_decay, training.betas) == (0, (0.9, 0.999))


def test_what_the_papers_gpn_has_seen_is_all_but_what_its_deployment_holds_out():
    config = DEPLOYMENTS["pretrain-gpn-human"]["parameters"]["config"]
    seen = get_model("gpn-human").spec.pretraining
    assert seen is not None
    assert seen.chromosomes is not None
    assert (list(seen.species), seen.assembly) == (config["species"], config["assembly"])
    every = {f"chr{c}" for c in (*range(1, 23), "X", "Y", "M")}
    assert every - set(seen.chromosomes) == set(config["training"]["holdout"]["names"]) == {"chr8"}
