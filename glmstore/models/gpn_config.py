"""The shape of a GPN network and its vocabulary, readable without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from glmstore.config import Frozen
from glmstore.errors import WeightsError

VOCABULARY = ("[PAD]", "[MASK]", "[UNK]", "a", "c", "g", "t")
PAD_ID, MASK_ID, UNK_ID = 0, 1, 2
BASE_IDS = (3, 4, 5, 6)
"""Token ids of A, C, G, T, in this order."""
LORA_TARGETS = r".*encoder\.\d+\.(conv\.1|ffn\.0)"
"""peft `target_modules` regex: every convolution and every feed-forward layer."""


class GPNConfig(Frozen):
    """Hyperparameters under the names of the published ``ConvNet`` configuration.

    The defaults are the published GPN (Brassicales): 25 blocks of width 512.
    Source: songlab-cal/gpn, ``gpn/legacy.py`` and ``gpn/model.py`` (class ConvNetConfig).
    """

    vocab_size: int = Field(
        len(VOCABULARY), ge=len(VOCABULARY), description="Tokens; 7 in the published models."
    )
    hidden_size: int = Field(512, gt=0, description="Channels D of every layer.")
    n_layers: int = Field(
        25, gt=0, description="Residual blocks, each one convolution and one feed-forward layer."
    )
    kernel_size: int = Field(9, gt=0, description="Convolution width in nucleotides; odd.")
    dilation_double_every: int = Field(1, gt=0, description="Blocks after which the dilation is multiplied.")
    dilation_max: int = Field(32, gt=0, description="Largest dilation.")
    dilation_cycle: int = Field(6, gt=0, description="Blocks after which the dilation starts again at 1.")
    dilation_base: int = Field(2, gt=0, description="Factor by which the dilation grows.")
    initializer_range: float = Field(0.02, gt=0, description="Standard deviation of new linear weights.")

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the output is as long as the input")
        return value

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilation of each block."""
        return tuple(
            min(
                self.dilation_max,
                self.dilation_base ** ((i % self.dilation_cycle) // self.dilation_double_every),
            )
            for i in range(self.n_layers)
        )

    @property
    def receptive_field(self) -> int:
        """Nucleotides that one output position depends on."""
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    @property
    def n_parameters(self) -> int:
        """Trainable numbers of the network with its masked-language head."""
        d, k, v = self.hidden_size, self.kernel_size, self.vocab_size
        block = (k * d * d + d) + (d * d + d) + 4 * d
        head = (d * d + d) + 2 * d + (d * v + v)
        return self.n_layers * block + head

    @classmethod
    def read(cls, path: Path) -> GPNConfig:
        """Read the architecture from a ``config.json``; keys that are not of this class are left alone.

        Raises
        ------
        WeightsError
            If the file is missing or is not such a configuration.
        """
        try:
            raw = json.loads(path.read_text())
            return cls(**{key: value for key, value in raw.items() if key in cls.model_fields})
        except (OSError, json.JSONDecodeError, ValidationError) as error:
            raise WeightsError(f"{path} is not a readable GPN configuration: {error}") from error


def vocabulary_sha256() -> str:
    """Return the digest of the vocabulary, the `tokenizer_sha256` of every GPN."""
    return hashlib.sha256("\n".join(VOCABULARY).encode()).hexdigest()
