"""The parts of transformers and peft that glmstore uses; nothing else here imports either.

While transformers is first imported it puts another object in its own place, and so do its packages. A thread
that imports it meanwhile waits, then goes on with the object that was replaced, and fails with "cannot import
name". Python runs the body of a module in one thread and lets the others wait for it: whoever comes through
here finds both packages whole. It takes seconds, so import it from modules that need it, never from a
registry module.
"""

from __future__ import annotations

import peft
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import (
    BertConfig,
    EsmConfig,
    EsmForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
)
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertForMaskedLM
from transformers.models.mixtral.modeling_mixtral import (
    MixtralAttention,
    MixtralRMSNorm,
    MixtralRotaryEmbedding,
)

PEFT_VERSION: str = peft.__version__

__all__ = [
    "PEFT_VERSION",
    "BertConfig",
    "BertForMaskedLM",
    "EsmConfig",
    "EsmForMaskedLM",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LoraConfig",
    "LoraLayer",
    "MixtralAttention",
    "MixtralConfig",
    "MixtralRMSNorm",
    "MixtralRotaryEmbedding",
    "PeftModel",
    "create_bidirectional_mask",
    "get_peft_model",
]
