"""Mamba's mixer: a short convolution and a selective scan, in plain torch.

Gu & Dao 2023 (arXiv:2312.00752). Parameter names and arithmetic are those of ``Mamba`` in state-spaces/mamba
(``mamba_ssm/modules/mamba_simple.py``). On CUDA, where mamba-ssm is installed, the scan runs in its fused
kernel; everywhere else :func:`selective_scan` computes the same recurrence. The tests cover the plain scan
and the layout that the kernel is given; the kernel itself was not run when this was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from glmstore.models.architectures.hyena import short_convolution

CHUNK_ELEMENTS = 1 << 17
"""State values of a chunk: few enough to stay in a core's cache, whatever the length of the sequence."""


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return ``y[t] = c[t] . h[t]`` for ``h[t] = exp(dt[t] a) h[t-1] + dt[t] x[t] b[t]``, with ``h[-1] = 0``.

    The states are computed one position after the other, all rows and channels at once, and kept for a chunk
    of positions only (all of them where gradients are wanted).

    Parameters
    ----------
    x, dt
        float32 [B, T, D]: inputs and step sizes.
    a
        float32 [D, N], negative.
    b, c
        float32 [B, T, N].

    Returns
    -------
    Tensor
        float32 [B, T, D].
    """
    rows, length, channels = x.shape
    chunk = max(1, CHUNK_ELEMENTS // (rows * channels * a.shape[1]))
    state = x.new_zeros(rows, channels, a.shape[1])
    found = []
    for start in range(0, length, chunk):
        here = slice(start, start + chunk)
        # Time comes first, so that the states of one position are one block of memory.
        step = dt[:, here].transpose(0, 1).unsqueeze(-1)
        drive = (dt[:, here] * x[:, here]).transpose(0, 1).unsqueeze(-1) * b[:, here].transpose(
            0, 1
        ).unsqueeze(2)
        decay = torch.exp(step * a)
        states = []
        for keep, new in zip(decay.unbind(0), drive.unbind(0), strict=True):
            state = torch.addcmul(new, keep, state)
            states.append(state)
        read = c[:, here].transpose(0, 1).unsqueeze(-1)
        found.append(torch.matmul(torch.stack(states), read).squeeze(-1))
    return torch.cat(found).transpose(0, 1)


@cache
def _fused_scan() -> Callable[..., Tensor] | None:
    if find_spec("mamba_ssm") is None:
        return None
    fused: Callable[..., Tensor] = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    return fused


def run_fused(fused: Callable[..., Tensor], x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Call a kernel that wants time last (as mamba-ssm's does) on what :func:`selective_scan` takes."""
    u, delta, b_last, c_last = (t.transpose(1, 2).contiguous() for t in (x, dt, b, c))
    return fused(u, delta, a, b_last, c_last).transpose(1, 2)


def scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Run the fused kernel where it can run and :func:`selective_scan` elsewhere; arguments are the same."""
    fused = _fused_scan() if x.is_cuda else None
    return selective_scan(x, dt, a, b, c) if fused is None else run_fused(fused, x, dt, a, b, c)


class Mamba(nn.Module):
    """One direction of a Mamba mixer.

    Parameters
    ----------
    d_model
        Width of the stream.
    ssm
        The published ``ssm_cfg``: d_state, d_conv, expand, dt_rank ("auto": d_model / 16, rounded up),
        dt_min, dt_max, dt_scale, dt_init_floor. Projections have no bias, the convolution has one.
    """

    def __init__(self, d_model: int, ssm: Mapping[str, Any]) -> None:
        super().__init__()
        inner, self.d_state = int(ssm["expand"] * d_model), int(ssm["d_state"])
        auto = ssm["dt_rank"] == "auto"
        self.dt_rank = math.ceil(d_model / 16) if auto else int(ssm["dt_rank"])
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, ssm["d_conv"], groups=inner, padding=ssm["d_conv"] - 1)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * self.d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, self.d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self._initialise_steps(ssm)

    def _initialise_steps(self, ssm: Mapping[str, Any]) -> None:
        # Step sizes start log-uniform between dt_min and dt_max; the bias is their inverse softplus.
        bound = self.dt_rank**-0.5 * ssm["dt_scale"]
        nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        low, high = math.log(ssm["dt_min"]), math.log(ssm["dt_max"])
        dt = torch.exp(torch.rand(self.dt_proj.out_features) * (high - low) + low).clamp(
            min=ssm["dt_init_floor"]
        )
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def mix(self, projected: Tensor) -> Tensor:
        """Return [B, T, E] for what `in_proj` made of a sequence, [B, T, 2E]; `out_proj` is yet to come."""
        x, gate = projected.chunk(2, dim=-1)
        x = nn.functional.silu(short_convolution(self.conv1d, x))
        dt, b, c = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        # A recurrence over thousands of positions is no place for half precision.
        steps, signal = nn.functional.softplus(self.dt_proj(dt).float()), x.float()
        y = scan(signal, steps, -torch.exp(self.A_log.float()), b.float(), c.float())
        out: Tensor = (y + signal * self.D) * nn.functional.silu(gate)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D] for [B, T, D]; no position sees a later one."""
        out: Tensor = self.out_proj(self.mix(self.in_proj(x)))
        return out
