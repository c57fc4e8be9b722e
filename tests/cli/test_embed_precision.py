from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmstore.models.catalogue import MODELS
from glmstore.store import FeatureStore

Invoke = Callable[..., Any]


def test_the_precision_is_chosen_by_option_or_settings_and_a_view_holds_one(
    glmstore: Invoke, store: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, spec = ["embed", fasta, "--model", "gpn-mini"], MODELS["gpn-mini"].spec
    assert glmstore(*chosen, "--precision", "float32").exit_code == 0
    monkeypatch.setenv("GLMSTORE_PRECISION", "bfloat16")
    assert glmstore(*chosen, "--layer", "1").exit_code == 0
    stored = FeatureStore.open(store, create=False).views()
    assert dict(stored.select("layer", "precision").iter_rows()) == {
        1: "bfloat16",
        spec.default_layer: "float32",
    }
    assert glmstore(*chosen, "--precision", "auto").exit_code == 0
    for refused in (glmstore(*chosen), glmstore(*chosen, "--precision", "bfloat16", "--force")):
        assert refused.exit_code == 2
        assert refused.stderr.startswith("error: view gpn-mini/")
        assert "is stored with precision float32, and now bfloat16 is asked for" in refused.stderr
        assert "`--precision auto`" in refused.stderr
    assert glmstore(*chosen, "--precision", "float8").exit_code == 2
