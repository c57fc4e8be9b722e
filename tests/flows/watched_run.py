"""Runs a small suite on a store, as a flow-run process does: ``python watched_run.py STORE_URI``."""

import logging
import sys

from flows.run_suite import RunSuiteConfig, run_suite
from glmstore.benchmarks.plans import ProbePlan, ViewRequest
from glmstore.benchmarks.suites import Suite

MODELS = (ViewRequest(model="kmer2"), ViewRequest(model="onehot", pooling="tokens", dtype="uint8"))

if __name__ == "__main__":
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    plan = ProbePlan(benchmark="toy_gc", heads=("ridge",))
    suite = Suite(name="Watched", summary="for tests", models=MODELS, probes=(plan,), seeds=(0,))
    print(run_suite(RunSuiteConfig(store=sys.argv[1], suite=suite)).model_dump_json())
