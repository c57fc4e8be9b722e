"""The multi-task RBP network of Tang et al. 2025: a ResidualBind-like classifier of eCLIP peaks.

Tang, Somia, Yu & Koo 2025, Genome Biology 26: 203 (Methods, "RBP"), and amberT15/LLM_eval,
``chip-clip-seq/RBP_pretrain.py`` at cad5487, function model_2CNN. Where the two differ the code is
followed, which made the weights: the third convolution of the residual block has 96 channels, not 196 (its
skip could not be added).

Layers carry the names that Keras gave them, so that a saved ``.h5`` is converted one variable after the other
(:mod:`glmstore.models.checkpoints.keras`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from glmstore.models.tokenizers.fixed_length import Window

KERAS_NORM_EPSILON = 1e-3
FIRST_KERNEL, BLOCK_KERNEL, SECOND_KERNEL = 19, 3, 7
DILATIONS = (1, 2, 4)


def _conv(width_in: int, width_out: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(width_in, width_out, kernel, dilation=dilation, padding="same", bias=False)


def _norm(width: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(width, eps=KERAS_NORM_EPSILON)


class RBPResidualBind(nn.Module):
    """The network, with dropouts left out of what is only evaluated.

    Parameters
    ----------
    window
        What it reads; a bin is what one max-pooling takes together.
    filters
        Channels of the first convolution and of the residual block.
    features
        Channels of the second convolution, which are the representation.
    hidden
        Units of the fully connected layer.
    n_targets
        Proteins whose binding is predicted.
    """

    def __init__(self, window: Window, *, filters: int, features: int, hidden: int, n_targets: int) -> None:
        super().__init__()
        self.window = window
        self.conv1d = _conv(4, filters, FIRST_KERNEL)
        self.batch_normalization = _norm(filters)
        self.conv1d_1, self.conv1d_2, self.conv1d_3 = (
            _conv(filters, filters, BLOCK_KERNEL, dilation) for dilation in DILATIONS
        )
        self.batch_normalization_1 = _norm(filters)
        self.batch_normalization_2 = _norm(filters)
        self.batch_normalization_3 = _norm(filters)
        self.conv1d_4 = _conv(filters, features, SECOND_KERNEL)
        self.batch_normalization_4 = _norm(features)
        self.dense = nn.Linear(features, hidden, bias=False)
        self.batch_normalization_5 = _norm(hidden)
        self.dense_1 = nn.Linear(hidden, n_targets)
        self.apply(_initialise)

    def forward(self, windows: Tensor) -> Tensor:
        """Return [B, bins, features], what the second convolution makes of windows [B, 4, length]."""
        x = self.batch_normalization(self.conv1d(windows)).exp()
        y = self.batch_normalization_1(self.conv1d_1(x)).relu()
        y = self.batch_normalization_2(self.conv1d_2(y)).relu()
        y = self.batch_normalization_3(self.conv1d_3(y))
        pooled = nn.functional.max_pool1d((x + y).relu(), self.window.bin_nt)
        bins: Tensor = self.batch_normalization_4(self.conv1d_4(pooled)).relu()
        return bins.transpose(1, 2)

    def states(self, ids: Tensor, _attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield [B, bins, features], the only layer: ``layers[-10]`` of the Keras model.

        Parameters
        ----------
        ids
            int64 [B, L], padded on the right with an id of its own, so that no mask is needed.
        """
        yield self.window.through(self, ids, self.dense.weight.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [B, 1, n_targets], before the sigmoid, of all bins [B, bins, features]."""
        x = self.batch_normalization_5(self.dense(hidden.mean(dim=1))).relu()
        logits: Tensor = self.dense_1(x)
        return logits.unsqueeze(1)


def _initialise(module: nn.Module) -> None:
    # What Keras draws by default.
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
