"""prefect.yaml: every flow has a deployment, and every deployment's parameters fit its flow."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining.train import lr_multiplier

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = {d["name"]: d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def flow_of(deployment: dict) -> Flow:
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


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
    rates = {
        training.learning_rate * lr_multiplier(p, training.warmup_fraction, training.final_lr_fraction)
        for p in (0, 0.3, 1)
    }
    assert rates == {1e-3}
    assert (training.weight_decay, training.betas) == (0, (0.9, 0.999))
