"""Score a network and the count-based baselines on the held-out stretches, at the same positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from glmstore.models.architectures.gpn import GPNForMaskedLM
from glmstore.models.gpn_config import BASE_IDS, MASK_ID
from glmstore.models.tf32 import exact_float32
from glmstore.pretraining.config import HeldOutScores
from glmstore.pretraining.corpus import Piece
from glmstore.pretraining.markov import ContextModel, scorable

WINDOW_NT = 192
SPACING = 16
SLICE_WINDOWS = 128
_BATCH = 64


@dataclass(frozen=True)
class MaskedWindows:
    """Windows [W, T] of token ids and the positions, bool [W, T], that are hidden and scored."""

    ids: np.ndarray
    hidden: np.ndarray


def windows(pieces: list[Piece]) -> np.ndarray:
    """Tile the pieces with windows of 192 nt that do not overlap; uint8 [W, 192]. Tails are left out."""
    tiles = [p.ids[: len(p.ids) // WINDOW_NT * WINDOW_NT].reshape(-1, WINDOW_NT) for p in pieces]
    return np.concatenate(tiles)


def some(ids: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """Return `limit` of the windows [W, T] drawn at random, in their order; all where there are no more.

    Of one seed, a smaller draw is part of a larger one.
    """
    if limit is None or limit >= len(ids):
        return ids
    drawn = np.random.default_rng(seed).permutation(len(ids))[:limit]
    taken: np.ndarray = ids[np.sort(drawn)]
    return taken


def mask_at_random(ids: np.ndarray, fraction: float, seed: int) -> MaskedWindows:
    """Hide `fraction` of the scorable positions, always by [MASK]."""
    rng = np.random.default_rng(seed)
    return MaskedWindows(ids, (rng.random(ids.shape) < fraction) & scorable(ids))


def mask_apart(ids: np.ndarray, seed: int) -> MaskedWindows:
    """Hide every 16th position from a random start in each window, so that no neighbour is hidden too."""
    start = np.random.default_rng(seed).integers(SPACING, size=(len(ids), 1))
    return MaskedWindows(ids, (np.arange(ids.shape[1]) % SPACING == start) & scorable(ids))


@torch.inference_mode()
def model_nll(network: GPNForMaskedLM, masked: MaskedWindows, device: str = "cpu") -> np.ndarray:
    """Return float64 [n], nats at each hidden position in row-major order, over the four bases."""
    was_training = network.training
    network.eval()
    shown = np.where(masked.hidden, MASK_ID, masked.ids)
    parts = []
    for at in range(0, len(shown), _BATCH):
        ids = torch.from_numpy(shown[at : at + _BATCH].astype(np.int64)).to(device)
        hidden = torch.from_numpy(masked.hidden[at : at + _BATCH]).to(device)
        target = (
            torch.from_numpy(masked.ids[at : at + _BATCH].astype(np.int64)).to(device)[hidden] - BASE_IDS[0]
        )
        logits = network.cls(network.model(ids)[hidden])[:, list(BASE_IDS)].float()
        parts.append(cross_entropy(logits, target, reduction="none").double().cpu().numpy())
    network.train(was_training)
    return np.concatenate(parts)


def score(
    network: GPNForMaskedLM,
    baselines: Mapping[str, ContextModel],
    ids: np.ndarray,
    *,
    mask_fraction: float,
    seed: int,
    device: str = "cpu",
    limit: int | None = None,
) -> HeldOutScores:
    """Return the negative log-likelihood of the network and of every baseline on windows [W, T].

    Parameters
    ----------
    network
        Scored in float32, in evaluation mode.
    baselines
        Fitted on training stretches only.
    ids
        uint8 [W, T] from :func:`windows`.
    mask_fraction, seed
        Decide the hidden positions, and the windows where there are more than `limit`.
    device
        Torch device that the network lies on.
    limit
        Windows scored at most; None: all.
    """
    available = len(ids)
    ids = some(ids, limit, seed)
    together, apart = mask_at_random(ids, mask_fraction, seed), mask_apart(ids, seed)
    with exact_float32(device):
        nll = {
            name: _all_nll(network, baselines, m, device)
            for name, m in (("masked15", together), ("separated", apart))
        }
    mean = {name: float(values.mean()) for name, values in nll["separated"].items()}
    best = min((name for name in mean if name != "model"), key=lambda name: mean[name])
    gain, over_best = (nll["separated"][name] - nll["separated"]["model"] for name in ("flank3", best))
    window = np.nonzero(apart.hidden)[0]
    return HeldOutScores(
        windows=len(ids),
        windows_available=available,
        window_nt=ids.shape[1],
        masked15_positions=int(together.hidden.sum()),
        masked15={name: float(values.mean()) for name, values in nll["masked15"].items()},
        slice_windows=min(SLICE_WINDOWS, len(ids)),
        slice_nll=float(nll["masked15"]["model"][np.nonzero(together.hidden)[0] < SLICE_WINDOWS].mean()),
        separated_positions=int(apart.hidden.sum()),
        separated=mean,
        gain_over_flank3=float(gain.mean()),
        gain_se=_clustered_se(gain, window),
        best_baseline=best,
        gain_over_best=float(over_best.mean()),
        best_se=_clustered_se(over_best, window),
    )


def _all_nll(
    network: GPNForMaskedLM, baselines: Mapping[str, ContextModel], masked: MaskedWindows, device: str
) -> dict[str, np.ndarray]:
    rows, columns = np.nonzero(masked.hidden)
    nll = {"model": model_nll(network, masked, device), "uniform": np.full(len(rows), math.log(4))}
    return nll | {name: model.nll(masked.ids, rows, columns) for name, model in baselines.items()}


def _clustered_se(values: np.ndarray, window: np.ndarray) -> float:
    """Return the standard error of the mean, with all positions of one window as one draw."""
    sums = np.bincount(window, weights=values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))
