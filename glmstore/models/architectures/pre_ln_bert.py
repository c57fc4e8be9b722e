"""GENA-LM: BERT with the norms before attention and feed-forward layer, instead of after them.

Fishman et al. 2025, Nucleic Acids Res. 53(2): gkae1310. Names and arithmetic are those of the published
checkpoints (AIRI-Institute/GENA_LM, ``src/gena_lm/modeling_bert.py`` at 011b95d, with ``pre_layer_norm``):
each block adds attention(norm(x)) to x, then feed-forward(norm(x)); the embedding keeps its own norm. A norm
after the last block (``last_layer_ln``) is there only where ``last_layer_norm`` says so, which is
``pre_layer_norm`` where the configuration is silent. transformers' BertForMaskedLM takes such a checkpoint
with a warning, drops its norms and puts fresh ones where they do not belong: other numbers, no error.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from glmstore.models.architectures.bert_parts import (
    BertEmbeddings,
    Config,
    MaskedLMHead,
    attend,
    initialise,
    split_heads,
)


class SelfAttention(nn.Module):
    """Query, key and value of one block."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config["hidden_size"]
        self.n_heads, self.dropout = config["num_attention_heads"], config["attention_probs_dropout_prob"]
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Return [B, T, D]; `seen` is bool [B, 1, 1, T], False on padding."""
        q, k, v = (split_heads(part(x), self.n_heads) for part in (self.query, self.key, self.value))
        return attend(q, k, v, seen, self.dropout if self.training else 0.0)


class Output(nn.Module):
    """A projection back to the residual stream, without the norm that BERT has here."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config["hidden_size"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, D]."""
        out: Tensor = self.dropout(self.dense(x))
        return out


class Attention(nn.Module):
    """Attention and its projection: the published ``attention`` submodule."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config, config["hidden_size"])

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Return [B, T, D]."""
        out: Tensor = self.output(self.self(x, seen))
        return out


class Intermediate(nn.Module):
    """The widening half of the feed-forward layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config["hidden_size"], config["intermediate_size"])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, F]."""
        return nn.functional.gelu(self.dense(x))


class PreLNBlock(nn.Module):
    """One block; the second norm is called after the attention that it follows."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d, eps = config["hidden_size"], config["layer_norm_eps"]
        self.pre_attention_ln = nn.LayerNorm(d, eps=eps)
        self.post_attention_ln = nn.LayerNorm(d, eps=eps)
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config, config["intermediate_size"])

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return [B, T, D]."""
        x = x + self.attention(self.pre_attention_ln(x), seen)
        out: Tensor = x + self.output(self.intermediate(self.post_attention_ln(x)))
        return out


class PreLNEncoder(nn.Module):
    """The blocks, and the norm after the last one where there is one."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.layer = nn.ModuleList([PreLNBlock(config) for _ in range(config["num_hidden_layers"])])
        self.last_layer_ln = (
            nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
            if config["last_layer_norm"]
            else None
        )


class PreLNBertModel(nn.Module):
    """Embeddings and blocks: the published ``bert`` submodule."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config, positions=True)
        self.encoder = PreLNEncoder(config)


class PreLNBert(nn.Module):
    """GENA-LM with its masked-language head.

    Parameters
    ----------
    config
        Keys of the published ``config.json``, and ``last_layer_norm`` also where that leaves it out.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.bert = PreLNBertModel(config)
        self.cls = MaskedLMHead(config, self.bert.embeddings.word_embeddings, separate_bias=True)
        # Upstream means to scale the output projections down by depth, but sets its flag on modules that the
        # test never reaches, so its weights too are drawn all alike.
        initialise(self, config["initializer_range"])

    def states(self, ids: Tensor, attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield float [B, T, D] of the embedding, then of every block, the last one normalised if that is so.

        Parameters
        ----------
        ids
            int64 [B, T].
        attention_mask
            bool [B, T], False on padding; None when there is none.
        """
        seen = None if attention_mask is None else attention_mask[:, None, None, :]
        encoder = self.bert.encoder
        x = self.bert.embeddings(ids)
        yield x
        for number, block in enumerate(encoder.layer, start=1):
            x = block(x, seen)
            if number == len(encoder.layer) and encoder.last_layer_ln is not None:
                x = encoder.last_layer_ln(x)
            yield x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return vocabulary logits [..., V] of last hidden states [..., D]."""
        logits: Tensor = self.cls(hidden)
        return logits
