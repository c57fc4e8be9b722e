"""From a whole model saved by Keras 2 as HDF5 to tensors under torch's names and axes.

Run as ``python -m glmstore.models.checkpoints.keras MODEL.h5 model.safetensors``; needs h5py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    import torch

TORCH_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What torch calls the variables of Keras' dense, convolution and batch normalisation layers."""


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a Keras model as torch's layers of the same names hold them.

    Raises
    ------
    WeightsError
        If the file cannot be read, holds no whole model, or a variable of another kind of layer; if h5py is
        missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise WeightsError("reading a Keras file needs h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            layers = file["model_weights"]
            variables = {
                _text(name): layers[layer][_text(name)][()]
                for layer in layers
                for name in layers[layer].attrs.get("weight_names", ())
            }
    except (OSError, KeyError) as error:
        raise WeightsError(f"{path} is no model saved by Keras as HDF5: {error}") from error
    found: dict[str, torch.Tensor] = {}
    for name, values in variables.items():
        found |= _converted(path, name, values)
    return found


def _converted(path: Path, name: str, values: np.ndarray) -> dict[str, torch.Tensor]:
    import numpy as np
    import torch

    layer, _, variable = name.partition(":")[0].rpartition("/")
    if variable not in TORCH_NAMES:
        raise WeightsError(f"{path}: {name} is a variable that has no counterpart here.")
    # Keras keeps kernels as [(positions,) in, out], torch as [out, in (, positions)].
    turned = np.ascontiguousarray(values.T) if variable == "kernel" else values
    tensors = {f"{layer}.{TORCH_NAMES[variable]}": torch.from_numpy(turned)}
    if variable == "moving_mean":
        tensors[f"{layer}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return tensors


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


if __name__ == "__main__":
    from safetensors.torch import save_file

    save_file(read_keras(Path(sys.argv[1])), sys.argv[2])
