"""Rescoring against the scores of all sequences."""

from __future__ import annotations

import pytest
import torch

from asr.decode.rescore import HybridRescore
from asr.errors import InputError
from tests.decode.hybrid import LENGTHS, every_sequence, make, outputs


def test_rescoring_puts_ctc_s_sequences_in_the_order_of_both() -> None:
    head = make()
    search = HybridRescore(head=head, beam=200, tokens_per_frame=None, n_best=3, length_bonus=0.2)

    found = search.search(outputs(head), LENGTHS)

    for row, length in enumerate(LENGTHS.tolist()):
        if length:
            outputs_1TX = outputs(head)[row : row + 1, :length]
            expected = every_sequence(head, outputs_1TX, length, 0.3, 0.2)[:3]
            assert [one.token_ids for one in found[row][:3]] == [ids for _, ids in expected]
            assert [one.score for one in found[row][:3]] == pytest.approx(
                [score for score, _ in expected], abs=1e-4
            )


def test_a_batch_in_several_passes_is_the_batch_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head = make()
    search = HybridRescore(head=head, beam=4)
    whole = search.search(outputs(head), LENGTHS)

    monkeypatch.setattr("asr.decode.rescore._MAX_LOGITS", 1)

    for ours, theirs in zip(search.search(outputs(head), LENGTHS), whole, strict=True):
        assert [one.token_ids for one in ours] == [one.token_ids for one in theirs]
        torch.testing.assert_close([one.score for one in ours], [one.score for one in theirs])


def test_more_sequences_than_the_beam_holds_are_refused() -> None:
    with pytest.raises(InputError, match=r"decode\.n_best=3: allowed: at most decode\.beam=2"):
        HybridRescore(head=make(), beam=2, n_best=3)
