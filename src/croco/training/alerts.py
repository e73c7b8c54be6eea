"""What may go wrong in preference tuning, told from what is watched: rules, no models.

That chosen responses become less likely while the margin grows is known of DPO (Pal et al., "Smaug",
arXiv 2402.13228); repetition and drift to another language come with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from croco.records import Step
from croco.training.log import Look

#: Log-probability in nats per response that the chosen ones may lose before it is told.
FALL = 5.0
#: Rise in repetition, and fall in the share of answers in the prompt's language, that are told.
REPETITION, DRIFT = 0.15, 0.15
#: Steps over which a loss that does not move is told, and how near to ln 2 or 0 that is.
STEPS, STUCK, ZERO = 20, 1e-3, 1e-4


def of_look(first: Look, now: Look) -> list[str]:
    """What a look at held-out prompts shows that the first one did not."""
    found = []
    fall = first.chosen_logp - now.chosen_logp
    if fall > FALL and now.margin > max(first.margin, 0.0):
        found.append(
            f"chosen responses lost {fall:.1f} nats while the margin grew to {now.margin:.2f}:"
            " lower learning_rate, raise beta, or set sft_weight"
        )
    if now.repetition - first.repetition > REPETITION:
        found.append(f"repetition rose from {first.repetition:.2f} to {now.repetition:.2f}")
    if first.fidelity - now.fidelity > DRIFT:
        found.append(
            f"answers drift to other languages: {now.fidelity:.2f} are in the prompt's, after"
            f" {first.fidelity:.2f}"
        )
    return found


def of_steps(steps: Sequence[Step], method: str) -> list[str]:
    """What the last steps' losses show; told once, when there are just enough of them."""
    if len(steps) < STEPS:
        return []
    now, before = (_state([s.loss for s in part], method) for part in _windows(steps))
    return [now] if now and now != before else []


def _windows(steps: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    return steps[-STEPS:], steps[-STEPS - 1 : -1] if len(steps) > STEPS else ()


def _state(losses: Sequence[float], method: str) -> str:
    if len(losses) < STEPS:
        return ""
    if all(abs(loss) < ZERO for loss in losses):
        return f"the loss is 0 since {STEPS} steps: nothing is left to learn; lower learning_rate"
    if method == "dpo" and all(abs(loss - math.log(2)) < STUCK for loss in losses):
        return (
            f"the loss stands at 0.693 since {STEPS} steps: nothing is learnt; raise learning_rate,"
            " and see whether chosen and rejected differ"
        )
    return ""
