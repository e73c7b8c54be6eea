"""Examples within a limit of tokens: what is too long is cut where the contrast stays, or left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from croco.training import Example, LeftOut


@dataclass
class Fitted:
    """The examples that fit, how many of them were cut, and why others were left out."""

    examples: list[Example] = field(default_factory=list)
    cut: int = 0
    dropped: list[LeftOut] = field(default_factory=list)

    @property
    def words(self) -> str:
        """In a few words, what was done; empty where all examples fitted."""
        cut = f"{self.cut} examples were cut to max_length" if self.cut else ""
        out = f"{len(self.dropped)} were left out ({self.dropped[0][2]})" if self.dropped else ""
        return ", ".join(one for one in (cut, out) if one)


def fit(examples: Iterable[Example], max_length: int) -> Fitted:
    """Each example within `max_length` tokens of prompt and response, as `cut` makes it.

    What was left out is told by id, language and reason.
    """
    fitted = Fitted()
    for example in examples:
        made, reason = cut(example, max_length)
        if made is None:
            fitted.dropped.append((example.id, example.lang, reason))
        else:
            fitted.examples.append(made)
            fitted.cut += made is not example
    return fitted


def cut(example: Example, max_length: int) -> tuple[Example | None, str]:
    """An example within `max_length` tokens of prompt and response; or none, and why.

    A prompt is never cut, since the answer is to all of it. Responses lose their ends, and with it the
    end of turn. A pair is left out where its sides are the same up to the cut: nothing would be left to
    prefer. The reference's log-probabilities, where known, are those of what is left.
    """
    if not example.prompt_ids or not all(example.sides):
        return None, "its prompt or a response is empty"
    room = max_length - len(example.prompt_ids)
    if room <= 0:
        return None, "its prompt alone has max_length tokens or more"
    if all(len(side) <= room for side in example.sides):
        same = len(example.sides) > 1 and example.chosen_ids == example.rejected_ids
        return (None, "its responses are the same text") if same else (example, "")
    chosen, rejected = example.chosen_ids[:room], example.rejected_ids[:room]
    if chosen == rejected:
        return None, "its responses are the same up to max_length"
    return replace(example, chosen_ids=chosen, rejected_ids=rejected), ""
