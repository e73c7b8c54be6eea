"""What merging an adapter into its base costs in precision, beside what the tuning itself changed.

    python benchmarks/merged_precision.py ADAPTER_FOLDER [--policy NAME]

Mean and largest difference of token log-probabilities, in nats, on the bundled English test preferences
(48 chats), with passes in float32: of the adapter against the base, and of merged weights in float32 and
in bfloat16 against the adapter.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from croco import models
from croco.datafiles import read_preferences, refer
from croco.records import chat_of
from croco.tokens import conversation_ids, load_tokenizer
from croco.training.export import Tuned, export


@torch.inference_mode()
def log_probabilities(model, rows):
    """Those of every token after the first, (tokens,)."""
    found = []
    for ids in rows:
        logs = model.eval()(torch.tensor([ids])).logits.float()[0, :-1].log_softmax(-1)
        found.append(logs.gather(1, torch.tensor(ids)[1:, None])[:, 0])
    return torch.cat(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--policy", default="smollm2-135m-instruct")
    chosen = parser.parse_args()
    policy = models.resolve(chosen.policy, Path())
    tokenizer = load_tokenizer(policy)
    pairs = read_preferences([refer("bundled:preferences-test.jsonl", Path())])
    rows = [
        conversation_ids(tokenizer, chat_of(p.before, p.prompt), p.chosen)
        for p in pairs
        if p.lang == "en"
    ]

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    base = load(models.fetch(policy))
    before = log_probabilities(base, rows)
    tuned = log_probabilities(PeftModel.from_pretrained(base, str(chosen.adapter)), rows)
    print(f"{len(rows)} chats, {len(tuned)} tokens")
    report("adapter against base", tuned - before)
    method = {"arms": {"arm": {"train": {"method": "dpo"}}}}
    about = {"run": "run", "arm": "arm", "languages": ["en"], "recipe": method, "versions": {}}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "bfloat16"):
            out = Path(folder, dtype)
            export(Tuned(chosen.adapter, policy, about), out, True, dtype)
            report(f"merged in {dtype} against adapter", log_probabilities(load(out), rows) - tuned)


def report(what, difference):
    print(f"{what}: mean {difference.abs().mean():.6f}, largest {difference.abs().max():.5f}")


if __name__ == "__main__":
    main()
