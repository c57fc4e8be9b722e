"""From numbers on a device to numbers in host memory, checked and in the type that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.views import DType


class Landing:
    """Features on their way to the host.

    They are checked and cast on the device. From a GPU the copy goes into page-locked memory beside the next
    layers' work, and is waited for by :meth:`wait` only.

    Parameters
    ----------
    values
        float [n, …] on any device.
    counts
        Integers [n], token counts of token-level views; None for pooled ones.
    dtype
        The type to store.
    """

    def __init__(self, values: Tensor, counts: Tensor | None, dtype: DType) -> None:
        import torch

        self._original, self._dtype = values, dtype
        self._event = None
        with torch.inference_mode():
            sent = [values.to(getattr(torch, dtype)), _all_fit(values, dtype)]
            if counts is not None:
                sent.append(counts.int())
            if values.is_cuda:
                sent = [_to_pinned(t) for t in sent]
                self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._event.record(torch.cuda.current_stream(values.device))
            else:
                sent = [t.cpu() for t in sent]
        self._values, self._good = sent[:2]
        self._counts = sent[2] if counts is not None else None

    def wait(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the values as `dtype` and int32 token counts.

        Raises
        ------
        UnfitValue
            If `dtype` cannot hold one of the values; nothing is stored as infinity.
        """
        if self._event is not None:
            self._event.synchronize()
        if not bool(self._good):
            rows = self._original.float().cpu().numpy().reshape(len(self._original), -1)
            row, column = np.argwhere(~_fits(rows, self._dtype))[0]
            raise UnfitValue(int(row), float(rows[row, column]))
        del self._original
        return self._values.numpy(), None if self._counts is None else self._counts.numpy()


class UnfitValue(Exception):  # noqa: N818  (never leaves the package: its catcher names the record)
    """A number that the stored type cannot hold, and the row of the batch it stands in."""

    def __init__(self, row: int, value: float) -> None:
        super().__init__(row, value)
        self.row, self.value = row, value


def _to_pinned(values: Tensor) -> Tensor:
    import torch

    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)


def _all_fit(values: Tensor, dtype: DType) -> Tensor:
    """Return bool []; NaN fails every comparison."""
    import torch

    if values.numel() == 0:
        return torch.ones((), dtype=torch.bool, device=values.device)
    low, high = values.aminmax()
    if dtype == "uint8":
        return (low >= 0) & (high <= 255) & (values == values.trunc()).all()
    largest = torch.finfo(getattr(torch, dtype)).max
    return (low >= -largest) & (high <= largest)


def _fits(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Return bool of the shape of `values`; False for NaN."""
    if dtype == "uint8":
        whole: np.ndarray = (values >= 0) & (values <= 255) & (values == np.trunc(values))
        return whole
    within: np.ndarray = np.abs(values) <= np.finfo(dtype).max
    return within
