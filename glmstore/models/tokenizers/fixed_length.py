"""Letters for networks that read a window of fixed length: a short sequence lies amid zeros.

Tang et al. 2025 put a sequence of L letters at floor((window - L) / 2) and fill the window with zeros, and
so does this. The network answers for bins of the window: its tokens. The bins that a sequence overlaps,
clipped to it, tile it; the others are special.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glmstore.models.base import Batch
from glmstore.models.encoding import LETTERS, encode_letters, letter_table

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNKNOWN_ID, PAD_ID = 4, 5
"""Ids of N and of padding, after those of A, C, G and T."""
NT_AT_ONCE = 65_536
"""Nucleotides of window computed together. A batch is planned by the length of its sequences, and a window
may be a thousand times as long, so the batch goes through the network in parts."""

_TABLE = letter_table(range(len(LETTERS)))


@dataclass(frozen=True)
class Window:
    """Where sequences lie in the window of a network, and which bins of its output are their tokens.

    Attributes
    ----------
    length
        Nucleotides that the network reads.
    bin_nt
        Nucleotides of an output position; divides `length`.
    whole
        Whether all bins are tokens, not only those from the first to the last one that a sequence overlaps.
    summary
        Whether the bin that ends at the window's middle stands in front, once more, as a special token.
    unknown
        Value of the four channels at an N inside a sequence; outside it is 0.
    """

    length: int
    bin_nt: int
    whole: bool = False
    summary: bool = False
    unknown: float = 0.0

    @property
    def sha256(self) -> str:
        """Digest of the letters and of everything that decides how they are read."""
        return hashlib.sha256(f"{LETTERS} {self!r}".encode()).hexdigest()

    @property
    def n_bins(self) -> int:
        """Output positions of the network."""
        return self.length // self.bin_nt

    def starts(self, lengths: Tensor) -> Tensor:
        """Return int64 [B], the place in the window of each sequence's first letter, 0-based."""
        return (self.length - lengths) // 2

    def bins(self, lengths: Tensor) -> Tensor:
        """Return int64 [B, T], the bin of each token; past a sequence's last they go on counting."""
        import torch

        if self.whole:
            return torch.arange(self.n_bins, device=lengths.device).expand(len(lengths), -1)
        starts = self.starts(lengths)
        first, last = starts // self.bin_nt, (starts + lengths - 1) // self.bin_nt
        return first.unsqueeze(1) + torch.arange(int((last - first).max()) + 1, device=lengths.device)

    def spans(self, lengths: Tensor) -> Tensor:
        """Return int64 [B, T, 2], the part of a sequence in each bin, half-open; (0, 0) where none is."""
        import torch

        left = self.bins(lengths) * self.bin_nt - self.starts(lengths).unsqueeze(1)
        spans = torch.stack([left, left + self.bin_nt], dim=-1)
        spans = spans.clamp(min=0).minimum(lengths.reshape(-1, 1, 1))
        return spans * (spans[..., :1] < spans[..., 1:])

    def place(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the windows [B, 4, length], channels A, C, G, T, of ids [B, L] padded on the right."""
        codes = ids.new_zeros((UNKNOWN_ID + 1, 4), dtype=dtype).fill_diagonal_(1.0)
        codes[UNKNOWN_ID] = self.unknown
        real = ids != PAD_ID
        rows, columns = real.nonzero(as_tuple=True)
        windows = ids.new_zeros((len(ids), self.length, 4), dtype=dtype)
        windows[rows, self.starts(real.sum(dim=1))[rows] + columns] = codes[ids[real]]
        return windows.transpose(1, 2)

    def through(self, network: Callable[[Tensor], Tensor], ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the tokens [B, T, D] of a batch.

        Parameters
        ----------
        network
            From windows [b, 4, length] to bins [b, n_bins, D].
        ids
            int64 [B, L], padded on the right.
        dtype
            Float type of the windows.
        """
        import torch

        places = self.bins((ids != PAD_ID).sum(dim=1))
        if self.summary:
            middle = torch.full_like(places[:, :1], self.n_bins // 2 - 1)
            places = torch.cat([middle, places], dim=1)
        rows = max(1, NT_AT_ONCE // self.length)
        parts = []
        for part, wanted in zip(torch.split(ids, rows), torch.split(places, rows), strict=True):
            bins = network(self.place(part, dtype))
            at = wanted.clamp(max=self.n_bins - 1).unsqueeze(-1)
            parts.append(bins.gather(1, at.expand(-1, -1, bins.shape[-1])))
        return torch.cat(parts)


class WindowTokenizer:
    """One id a letter, and the bins of the network's window as tokens.

    Parameters
    ----------
    window
        The network's.

    Notes
    -----
    The ids and the attention mask of a batch are [B, L], one a letter; spans and special mask are [B, T], one
    a bin.
    """

    strings = (*LETTERS, "")
    mask_id = None

    def __init__(self, window: Window) -> None:
        self.sha256 = window.sha256
        self._window = window

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return the batch of normalised sequences, none empty or longer than the window."""
        import torch

        letters = encode_letters(sequences, _TABLE, PAD_ID)
        spans = self._window.spans(letters.lengths)
        if self._window.summary:
            spans = torch.cat([torch.zeros_like(spans[:, :1]), spans], dim=1)
        special = spans[..., 0] == spans[..., 1]
        return letters._replace(spans=spans.int(), special_mask=special)
