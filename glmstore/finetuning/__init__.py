"""LoRA fine-tuning: adapters that are trained, saved, loaded again and embedded with."""

from glmstore.finetuning.cells import FineTuneOutcome, adapter_names, forget_adapters, plan_cell, run_cell
from glmstore.finetuning.saving import Manifest, Origin, load_finetuned, read_manifest, save_finetuned
from glmstore.finetuning.settings import FineTuneSettings

__all__ = [
    "FineTuneOutcome",
    "FineTuneSettings",
    "Manifest",
    "Origin",
    "adapter_names",
    "forget_adapters",
    "load_finetuned",
    "plan_cell",
    "read_manifest",
    "run_cell",
    "save_finetuned",
]
