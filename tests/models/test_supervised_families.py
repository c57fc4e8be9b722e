"""Sei, Enformer and the RBP ResidualBind against their arithmetic written out; what a fixed window means."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import splev
from scipy.stats import gamma
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, max_pool1d

from glmstore.errors import ScorerError, WeightsError
from glmstore.extraction import embed
from glmstore.models import MODELS
from glmstore.models import enformer as enformer_family
from glmstore.models import residualbind as residualbind_family
from glmstore.models import sei as sei_family
from glmstore.models.architectures.enformer import tower_channels
from glmstore.models.architectures.enformer_attention import distance_features, shift
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.architectures.sei import spline_basis
from glmstore.models.checkpoints.keras import read_keras
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.family import Family
from glmstore.models.tokenizers import fixed_length
from glmstore.models.tokenizers.fixed_length import Window, WindowTokenizer

SEI, ENFORMER, RBP = sei_family.FAMILY, enformer_family.FAMILY, residualbind_family.FAMILY
SEQUENCES = ["ACGTTGCANNATTGCAGGT", "GATTACA", "TTTACGATCGACTAGCTAGCATCGACTAGCATTT", "A"]
Weights = dict[str, Tensor]


def one_hot_window(sequence: str, length: int, unknown: float = 0.0) -> np.ndarray:
    """Return float32 [4, length], letter by letter."""
    window = np.zeros((4, length), dtype=np.float32)
    left = math.floor((length - len(sequence)) / 2)
    for i, letter in enumerate(sequence):
        if letter == "N":
            window[:, left + i] = unknown
        else:
            window["ACGT".index(letter), left + i] = 1
    return window


def drawn(family: Family, seed: int = 0) -> LanguageModel:
    """Return the tiny model with every tensor random: no zero or identity to hide a mistake behind."""
    model = family.tiny_model()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 0.3, generator=generator)
    return model


def states(model: LanguageModel, sequences: list[str]) -> Tensor:
    with torch.inference_mode():
        return model.hidden_states(model.encode(sequences), 0)


# The window.


@given(
    sequences=st.lists(st.text("ACGTN", min_size=1, max_size=48), min_size=1, max_size=4),
    bin_nt=st.sampled_from([1, 3, 8, 48]),
    whole=st.booleans(),
    summary=st.booleans(),
)
def test_tokens_are_the_bins_of_the_window_clipped_to_the_sequence(sequences, bin_nt, whole, summary):
    window = Window(48, bin_nt, whole=whole, summary=summary)
    batch = WindowTokenizer(window).encode(sequences)
    for row, sequence in enumerate(sequences):
        left = (48 - len(sequence)) // 2
        inside = {b: [] for b in range(window.n_bins)}
        for place in range(left, left + len(sequence)):
            inside[place // bin_nt].append(place - left)
        expected = [[p[0], p[-1] + 1] for p in inside.values() if p]
        real = ~batch.special_mask[row]
        assert batch.spans[row][real].tolist() == expected
        assert not batch.spans[row][~real].any()
        assert bool(batch.special_mask[row, 0]) or not summary
    assert batch.ids.shape == batch.attention_mask.shape == (len(sequences), max(map(len, sequences)))
    assert batch.spans.dtype == torch.int32


@pytest.mark.parametrize("unknown", [0.0, 0.25])
def test_a_sequence_lies_in_the_middle_of_zeros_wherever_its_batch_pads_it(unknown: float):
    window = Window(48, 8, unknown=unknown)
    whole = "ACGTN" * 9 + "ACG"
    sequences = [*SEQUENCES, whole]
    placed = window.place(WindowTokenizer(window).encode(sequences).ids, torch.float32)
    expected = np.stack([one_hot_window(s, 48, unknown) for s in sequences])
    np.testing.assert_array_equal(placed.numpy(), expected)
    assert len(whole) == 48


def test_parts_of_a_batch_are_what_the_whole_would_be(monkeypatch: pytest.MonkeyPatch):
    for family in (SEI, ENFORMER, RBP):
        model = drawn(family)
        together = states(model, SEQUENCES)
        monkeypatch.setattr(fixed_length, "NT_AT_ONCE", 1)
        apart = states(model, SEQUENCES)
        monkeypatch.undo()
        assert float((apart - together).abs().max() / together.std()) <= 2e-5


def test_windows_that_differ_have_tokenizers_that_differ():
    digests = {w.sha256 for w in (Window(48, 8), Window(64, 8), Window(48, 8, unknown=0.25), Window(48, 4))}
    assert len(digests) == 4


@pytest.mark.parametrize("family", [SEI, ENFORMER, RBP], ids=lambda f: f.name)
def test_letters_are_not_asked_for(family: Family):
    with pytest.raises(ScorerError, match="cannot hide one letter"):
        family.tiny_model().base_probs(["ACGT"], [1])


# Sei.


def cox_de_boor(x: float, i: int, degree: int, knots: list[float]) -> float:
    """Return one B-spline by its recursion; the last interval is closed."""
    if degree == 0:
        last = x == knots[-1] and knots[i] < knots[i + 1] == x
        return float(knots[i] <= x < knots[i + 1] or last)
    total = 0.0
    if knots[i + degree] > knots[i]:
        total += (x - knots[i]) / (knots[i + degree] - knots[i]) * cox_de_boor(x, i, degree - 1, knots)
    if knots[i + degree + 1] > knots[i + 1]:
        share = (knots[i + degree + 1] - x) / (knots[i + degree + 1] - knots[i + 1])
        total += share * cox_de_boor(x, i + 1, degree - 1, knots)
    return total


def knots_of(length: int, df: int) -> list[float]:
    inner = np.percentile(np.arange(length), 100 * np.linspace(0, 1, df - 2)[1:-1])
    return [*[0.0] * 4, *inner.tolist(), *[length - 1.0] * 4]


def test_the_spline_basis_is_the_published_one():
    basis = spline_basis(256, 16)
    assert basis.shape == (256, 16)
    assert basis.min() >= 0
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(basis, basis[::-1, ::-1], atol=1e-12)
    knots = knots_of(256, 16)
    for i, unit in enumerate(np.eye(16)):
        np.testing.assert_allclose(basis[:, i], splev(np.arange(256), (knots, unit, 3)), atol=1e-12)


@pytest.mark.parametrize(("length", "df"), [(256, 16), (8, 5), (9, 4)])
def test_the_spline_basis_follows_the_recursion(length: int, df: int):
    knots = knots_of(length, df)
    places = sorted({0, 1, length // 3, length // 2, length - 2, length - 1})
    expected = [[cox_de_boor(float(x), i, 3, knots) for i in range(df)] for x in places]
    np.testing.assert_allclose(spline_basis(length, df)[places], expected, atol=1e-12)


def written_out_sei(w: Weights, x: Tensor, dilations: list[int], df: int) -> Tensor:
    def conv(name: str, x: Tensor, padding: int = 4, dilation: int = 1) -> Tensor:
        return conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding, dilation=dilation)

    lout1 = conv("lconv1.1", conv("lconv1.0", x))
    out1 = conv("conv1.2", conv("conv1.0", lout1).relu()).relu()
    lout2 = conv("lconv2.3", conv("lconv2.2", max_pool1d(out1 + lout1, 4, 4)))
    out2 = conv("conv2.3", conv("conv2.1", lout2).relu()).relu()
    lout3 = conv("lconv3.3", conv("lconv3.2", max_pool1d(out2 + lout2, 4, 4)))
    out3 = conv("conv3.3", conv("conv3.1", lout3).relu()).relu()
    first, *others = dilations
    total = out3 + conv("dconv1.1", out3 + lout3, 2 * first, first).relu()
    for i, d in enumerate(others, start=2):
        total = total + conv(f"dconv{i}.1", total, 2 * d, d).relu()
    n = total.shape[-1]
    knots = knots_of(n, df)
    basis = torch.tensor([[cox_de_boor(float(p), i, 3, knots) for i in range(df)] for p in range(n)])
    return torch.einsum("bcn,nk->bck", total, basis).reshape(len(x), 1, -1)


def test_sei_is_its_forward_pass_written_out():
    model = drawn(SEI)
    windows = torch.from_numpy(np.stack([one_hot_window(s, 128, 0.25) for s in SEQUENCES]))
    w = model.network.state_dict()
    with torch.inference_mode():
        expected = written_out_sei(w, windows, SEI.tiny["dilations"], SEI.tiny["degrees_of_freedom"])
        torch.testing.assert_close(states(model, SEQUENCES), expected, atol=1e-4, rtol=1e-4)
        hidden = linear(expected, w["classifier.0.weight"], w["classifier.0.bias"]).relu()
        logits = linear(hidden, w["classifier.2.weight"], w["classifier.2.bias"])
        torch.testing.assert_close(model.logits(model.encode(SEQUENCES)), logits, atol=1e-4, rtol=1e-4)


def test_the_published_sei_reads_256_places_through_16_functions():
    with torch.device("meta"):
        network = SEI.network(sei_family.PUBLISHED)
    assert MODELS["sei"].spec.dim == 960 * 16
    assert network.basis.shape == (256, 16)


def test_a_sei_checkpoint_loads_with_the_prefix_of_its_training(tmp_path: Path):
    model = drawn(SEI)
    path = tmp_path / "sei.pth"
    torch.save({f"module.model.{n}": t for n, t in model.network.state_dict().items()}, path)
    fresh = build_unfilled(partial(SEI.network, SEI.tiny))
    load_strict(fresh, [path], owner="sei", rename=SEI.rename, ignored=SEI.ignored)
    loaded = LanguageModel(model.spec, fresh, model.tokenizer)
    assert torch.equal(states(loaded, SEQUENCES), states(model, SEQUENCES))


# Enformer.


def test_the_tower_grows_as_published():
    assert tower_channels(768, 1536, 6, 128) == [768, 896, 1024, 1152, 1280, 1536]


@pytest.mark.parametrize(("n_bins", "n_features"), [(16, 12), (1536, 192)])
def test_distance_features_are_decays_indicators_and_gamma_densities(n_bins: int, n_features: int):
    found = distance_features(n_bins, n_features)
    assert found.shape == (2 * n_bins - 1, n_features)
    n = n_features // 6
    signed = np.arange(-n_bins + 1, n_bins)
    distance = np.abs(signed).astype(float)
    for i in range(n):
        half_life = 2 ** (3 + (math.log2(n_bins) - 3) * i / (n - 1))
        mean = n_bins / n + (n_bins - n_bins / n) * i / (n - 1)
        deviation = n_bins / (2 * n)
        density = gamma.pdf(distance, a=(mean / deviation) ** 2, scale=deviation**2 / mean) + 1e-8
        columns = [
            np.exp(-math.log(2) * distance / half_life),
            2 ** (i + 1) - 1 > distance,
            density / density.max(),
        ]
        for kind, column in enumerate(columns):
            place = kind * n + i
            np.testing.assert_allclose(found[:, place], column, atol=1e-6, rtol=1e-5)
            np.testing.assert_allclose(
                found[:, 3 * n + place], np.sign(signed) * column, atol=1e-6, rtol=1e-5
            )


def test_logits_by_distance_become_logits_by_key():
    by_distance = torch.randn(2, 3, 5, 9)
    found = shift(by_distance)
    for query in range(5):
        for key in range(5):
            assert torch.equal(found[..., query, key], by_distance[..., query, key - query + 4])
    assert torch.equal(shift(by_distance.transpose(0, 1)), found.transpose(0, 1))


def gelu(x: Tensor) -> Tensor:
    return x / (1 + (-1.702 * x).exp())


def written_out_attention(w: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Return [T, D] of [T, D], one pair of bins after the other."""
    q, k, v = (x @ w[f"{name}.to_{part}.weight"].T for part in "qkv")
    rel = distance_features(len(x), x.shape[1] // heads) @ w[f"{name}.to_rel_k.weight"].T
    n, key, value = len(x), q.shape[1] // heads, v.shape[1] // heads
    out = torch.zeros(n, v.shape[1])
    for h in range(heads):
        of_key, of_value = slice(h * key, (h + 1) * key), slice(h * value, (h + 1) * value)
        content = w[f"{name}.rel_content_bias"][0, h, 0]
        place = w[f"{name}.rel_pos_bias"][0, h, 0]
        logits = torch.zeros(n, n)
        for i in range(n):
            query = q[i, of_key] / math.sqrt(key)
            for j in range(n):
                logits[i, j] = (query + content) @ k[j, of_key] + (query + place) @ rel[j - i + n - 1, of_key]
        out[:, of_value] = logits.softmax(dim=1) @ v[:, of_value]
    return out @ w[f"{name}.to_out.weight"].T + w[f"{name}.to_out.bias"]


def written_out_trunk(w: Weights, x: Tensor, depth: int, heads: int) -> Tensor:
    """Return [bins, 2 dim] of one window [4, length]."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = w[f"{name}.weight"]
        return conv1d(x[None], weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)[0]

    def norm_gelu_conv(name: str, x: Tensor) -> Tensor:
        mean, var, scale, offset = (
            w[f"{name}.0.{part}"][:, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return conv(f"{name}.2", gelu((x - mean) / (var + 1e-5).sqrt() * scale + offset))

    def pool(name: str, x: Tensor) -> Tensor:
        logits = w[f"{name}.to_attn_logits.weight"][:, :, 0, 0] @ x
        odd, even = logits[:, 1::2].exp(), logits[:, 0::2].exp()
        return (x[:, 0::2] * even + x[:, 1::2] * odd) / (even + odd)

    def layer_norm(name: str, x: Tensor) -> Tensor:
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = conv("stem.0", x)
    x = pool("stem.2", x + norm_gelu_conv("stem.1.fn", x))
    for i in range(len({n.split(".")[1] for n in w if n.startswith("conv_tower.")})):
        x = norm_gelu_conv(f"conv_tower.{i}.0", x)
        x = pool(f"conv_tower.{i}.2", x + norm_gelu_conv(f"conv_tower.{i}.1.fn", x))
    x = x.T
    for i in range(depth):
        block = f"transformer.{i}"
        x = x + written_out_attention(w, f"{block}.0.fn.1", layer_norm(f"{block}.0.fn.0", x), heads)
        y = layer_norm(f"{block}.1.fn.0", x) @ w[f"{block}.1.fn.1.weight"].T + w[f"{block}.1.fn.1.bias"]
        x = x + y.relu() @ w[f"{block}.1.fn.4.weight"].T + w[f"{block}.1.fn.4.bias"]
    return gelu(norm_gelu_conv("final_pointwise.1", x.T)).T


def test_enformer_is_its_forward_pass_written_out():
    model, tiny = drawn(ENFORMER), ENFORMER.tiny
    w = model.network.state_dict()
    found = states(model, SEQUENCES)
    batch = model.encode(SEQUENCES)
    tracks = model.logits(batch)
    for row, sequence in enumerate(SEQUENCES):
        window = torch.from_numpy(one_hot_window(sequence, tiny["sequence_length"]))
        bins = written_out_trunk(w, window, tiny["depth"], tiny["heads"])
        left = (128 - len(sequence)) // 2
        overlapped = range(left // 8, (left + len(sequence) - 1) // 8 + 1)
        assert int((~batch.special_mask[row]).sum()) == len(overlapped)
        expected = bins[[7, *overlapped]]
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=2e-4, rtol=2e-4)
        heads = [expected @ w[f"_heads.{s}.0.weight"].T + w[f"_heads.{s}.0.bias"] for s in ("human", "mouse")]
        torch.testing.assert_close(tracks[row, : len(expected)], torch.cat(heads, 1), atol=5e-4, rtol=5e-4)


def test_the_default_pooling_is_the_central_bin_of_the_published_crop():
    window = enformer_family._window(enformer_family.PUBLISHED)
    cropped = np.arange(window.n_bins)[320:-320]
    assert len(cropped) == 896
    central = cropped[448 - 1]
    ids = torch.zeros(1, 230, dtype=torch.long)
    tokens = window.through(lambda x: torch.arange(1536.0).reshape(1, -1, 1), ids, torch.float32)
    assert tokens.flatten().tolist() == [central, central, central + 1]
    assert (central + 1) * window.bin_nt == window.length / 2


def test_cls_is_the_central_bin_and_mean_is_over_the_bins_a_sequence_overlaps():
    model = drawn(ENFORMER)
    hidden = states(model, ["GATTACA"])[0]
    assert model.spec.default_pooling == "cls"
    for pooling, expected in (("cls", hidden[0]), ("mean", hidden[1:].mean(dim=0))):
        (chunk,) = embed(model, ["GATTACA"], layer=0, pooling=pooling, dtype="float32", precision="float32")
        np.testing.assert_allclose(chunk.values[0], expected, atol=1e-6)


def test_the_second_naming_of_the_trunk_is_left_out(tmp_path: Path):
    model = drawn(ENFORMER)
    state = model.network.state_dict()
    second = {"stem": 1, "conv_tower": 2, "transformer": 4, "final_pointwise": 6}
    for name, tensor in list(state.items()):
        part, _, rest = name.partition(".")
        if part in second:
            state[f"_trunk.{second[part]}.{rest}"] = tensor
    torch.save(state, tmp_path / "pytorch_model.bin")
    fresh = build_unfilled(partial(ENFORMER.network, ENFORMER.tiny))
    load_strict(fresh, [tmp_path / "pytorch_model.bin"], owner="enformer", ignored=ENFORMER.ignored)
    loaded = LanguageModel(model.spec, fresh, model.tokenizer)
    assert torch.equal(states(loaded, SEQUENCES), states(model, SEQUENCES))


# The RBP ResidualBind.


def keras_variables(config: dict[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """Return the variables of ``model_2CNN`` as Keras shapes them: kernels [positions, in, out]."""
    filters, features, hidden = config["filters"], config["features"], config["hidden"]
    shapes: dict[str, tuple[int, ...]] = {
        "conv1d/kernel": (19, 4, filters),
        "conv1d_1/kernel": (3, filters, filters),
        "conv1d_2/kernel": (3, filters, filters),
        "conv1d_3/kernel": (3, filters, filters),
        "conv1d_4/kernel": (7, filters, features),
        "dense/kernel": (features, hidden),
        "dense_1/kernel": (hidden, config["n_targets"]),
        "dense_1/bias": (config["n_targets"],),
    }
    norms = ["", "_1", "_2", "_3", "_4", "_5"]
    widths = [filters] * 4 + [features, hidden]
    for suffix, width in zip(norms, widths, strict=True):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"batch_normalization{suffix}/{part}"] = (width,)
    rng = np.random.default_rng(seed)
    return {
        n: (rng.uniform(0.5, 2, s) if n.endswith("variance") else rng.normal(0, 0.3, s)).astype(np.float32)
        for n, s in shapes.items()
    }


def written_out_rbp(v: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return layers[-10] and the logits of Keras' model_2CNN for one window [length, 4], in numpy."""

    def conv(name: str, x: np.ndarray, dilation: int = 1) -> np.ndarray:
        kernel = v[f"{name}/kernel"]
        pad = dilation * (len(kernel) - 1) // 2
        padded = np.pad(x, ((pad, pad), (0, 0)))
        return sum(padded[dilation * k :][: len(x)] @ kernel[k] for k in range(len(kernel)))

    def norm(suffix: str, x: np.ndarray) -> np.ndarray:
        name = f"batch_normalization{suffix}"
        scale = v[f"{name}/gamma"] / np.sqrt(v[f"{name}/moving_variance"] + 1e-3)
        return (x - v[f"{name}/moving_mean"]) * scale + v[f"{name}/beta"]

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    x = np.exp(norm("", conv("conv1d", x)))
    y = relu(norm("_1", conv("conv1d_1", x, 1)))
    y = relu(norm("_2", conv("conv1d_2", y, 2)))
    x = relu(x + norm("_3", conv("conv1d_3", y, 4)))
    x = x.reshape(-1, 10, x.shape[1]).max(axis=1)
    bins = relu(norm("_4", conv("conv1d_4", x)))
    hidden = relu(norm("_5", bins.mean(axis=0) @ v["dense/kernel"]))
    return bins, hidden @ v["dense_1/kernel"] + v["dense_1/bias"]


def save_keras(path: Path, variables: dict[str, np.ndarray]) -> None:
    """Write variables where Keras 2 puts those of a whole model; layers without any are there too."""
    with h5py.File(path, "w") as file:
        layers = file.create_group("model_weights")
        layers.create_group("activation").attrs["weight_names"] = np.array([], dtype="S1")
        for layer in sorted({n.split("/")[0] for n in variables}):
            names = [n for n in variables if n.split("/")[0] == layer]
            group = layers.create_group(layer)
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in names]
            for n in names:
                group.create_dataset(f"{n}:0", data=variables[n])


def test_a_keras_file_converts_to_the_network_that_keras_ran(tmp_path: Path):
    variables = keras_variables(dict(RBP.tiny))
    save_keras(tmp_path / "model.h5", variables)
    torch.save(read_keras(tmp_path / "model.h5"), tmp_path / "model.pt")
    network = build_unfilled(partial(RBP.network, RBP.tiny))
    load_strict(network, [tmp_path / "model.pt"], owner="rbp-residualbind")
    tiny = RBP.tiny_model()
    model = LanguageModel(tiny.spec, network, tiny.tokenizer)
    found, batch = states(model, SEQUENCES), model.encode(SEQUENCES)
    logits = model.logits(batch).detach()
    for row, sequence in enumerate(SEQUENCES):
        bins, expected = written_out_rbp(variables, one_hot_window(sequence, 100).T)
        scale = float(np.abs(bins).max())
        np.testing.assert_allclose(found[row], bins, atol=1e-5 * scale, rtol=1e-4)
        np.testing.assert_allclose(logits[row, 0], expected, atol=1e-4 * np.abs(expected).max(), rtol=1e-4)


def broken(path: Path) -> None:
    path.write_bytes(b"no HDF5 at all")


def weights_only(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("conv1d")


def unknown_variable(path: Path) -> None:
    save_keras(path, {"lstm/recurrent_kernel": np.zeros((2, 2), dtype=np.float32)})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (broken, "no model"),
        (weights_only, "no model"),
        (unknown_variable, r"recurrent_kernel:0 is a variable"),
    ],
)
def test_a_file_that_is_no_such_keras_model_is_refused_by_name(
    write: Callable[[Path], None], message: str, tmp_path: Path
):
    write(tmp_path / "model.h5")
    with pytest.raises(WeightsError, match=rf"model\.h5.*{message}"):
        read_keras(tmp_path / "model.h5")


@pytest.mark.parametrize("family", [SEI, RBP], ids=lambda f: f.name)
def test_a_checkpoint_of_another_shape_is_refused(family: Family, tmp_path: Path):
    state = family.tiny_model().network.state_dict()
    name = next(iter(state))
    torch.save({**state, name: torch.zeros(3)}, tmp_path / "model.pt")
    network: nn.Module = build_unfilled(partial(family.network, family.tiny))
    with pytest.raises(WeightsError, match=rf"{name} is \[3\]"):
        load_strict(network, [tmp_path / "model.pt"], owner=family.name)
