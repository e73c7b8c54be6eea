"""Examples within max_length: cut where the contrast stays, else left out with the reason."""

from __future__ import annotations

from croco.training import Example
from croco.training.lengths import fit


def example(prompt: int, chosen: list[int], rejected: list[int], id: str = "p") -> Example:
    return Example([1] * prompt, chosen, rejected, id, "en", (-1.0, -2.0))


def test_what_fits_stays_as_it_is():
    fits = example(2, [3, 4], [5])
    fitted = fit([fits], 4)
    assert (fitted.examples, fitted.cut, fitted.dropped, fitted.words) == ([fits], 0, [], "")


def test_responses_are_cut_and_the_reference_is_that_of_what_is_left():
    fitted = fit([example(2, [3, 4, 5], [6, 7])], 4)
    (cut,) = fitted.examples
    assert (cut.prompt_ids, cut.chosen_ids, cut.rejected_ids) == ([1, 1], [3, 4], [6, 7])
    assert cut.reference == (-1.0, -2.0)
    assert fitted.cut == 1
    assert fitted.words == "1 examples were cut to max_length"


def test_a_pair_whose_sides_are_the_same_up_to_the_cut_is_left_out():
    fitted = fit([example(2, [3, 4, 5], [3, 4, 6], "same"), example(1, [2], [3], "kept")], 4)
    assert [one.id for one in fitted.examples] == ["kept"]
    assert fitted.dropped == [("same", "en", "its responses are the same up to max_length")]
    assert fitted.words == "1 were left out (its responses are the same up to max_length)"


def test_a_prompt_is_never_cut_and_nothing_may_be_empty():
    rows = [example(4, [3], [5]), example(0, [3], [5]), Example([1], [], [3])]
    fitted = fit(rows, 4)
    assert fitted.examples == []
    reasons = [reason for _, _, reason in fitted.dropped]
    assert reasons[0] == "its prompt alone has max_length tokens or more"
    assert reasons[1:] == ["its prompt or a response is empty"] * 2


def test_sft_has_one_side():
    fitted = fit([Example([1], [2, 3, 4], [])], 3)
    assert fitted.examples == [Example([1], [2, 3], [])]


def test_a_pair_of_one_text_is_left_out_before_any_cut():
    fitted = fit([example(2, [3, 4], [3, 4], "same"), example(1, [2], [3], "kept")], 8)
    assert [one.id for one in fitted.examples] == ["kept"]
    assert fitted.dropped == [("same", "en", "its responses are the same text")]
