"""Searches of a hybrid head against all sequences, alone and in a batch, capped, and of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asr.cli.main import main
from asr.decode.hybrid import HybridBeam, HybridSearch
from asr.decode.recogniser import load_recogniser
from asr.decode.rescore import HybridRescore
from asr.decode.search import build_search
from asr.decode.transcribe import Transcriber
from asr.errors import InputError
from asr.head.ctc import frames_needed
from tests.decode.hybrid import HYBRID, LENGTHS, every_sequence, make, outputs
from tests.decode.package import save_tiny_package, write_noise


@pytest.mark.parametrize(
    ("weight", "bonus", "el_attention"),
    [(0.3, 0.0, False), (0.0, 0.0, True), (0.7, 0.5, False), (0.3, -0.5, True)],
)
def test_a_beam_that_holds_all_finds_the_best_of_all_sequences(
    weight: float, bonus: float, el_attention: bool
) -> None:
    head = make()
    search = HybridBeam(
        head=head,
        beam=300,
        ctc_weight=weight,
        length_bonus=bonus,
        tokens_per_step=None,
        n_best=3,
        el_attention=el_attention,
    )

    found = search.search(outputs(head), LENGTHS)

    for row, length in enumerate(LENGTHS.tolist()):
        if not length:
            assert [one.token_ids for one in found[row]] == [()]
            continue
        outputs_1TX = outputs(head)[row : row + 1, :length]
        expected = every_sequence(head, outputs_1TX, length, weight, bonus)[:3]
        assert [one.token_ids for one in found[row][:3]] == [ids for _, ids in expected]
        assert [one.score for one in found[row][:3]] == pytest.approx(
            [score for score, _ in expected], abs=1e-4
        )


@torch.no_grad()
def test_a_beam_of_one_is_the_loop_over_the_best_token() -> None:
    head = make(vocab_size=9, end_bias=1.0)
    outputs_BTX, lengths_B = outputs(head, 30), torch.tensor([30, 12, 5, 21])
    found = HybridBeam(head=head, beam=1, ctc_weight=0.0)(outputs_BTX, lengths_B)

    _, frames_BTD = head.split(outputs_BTX)
    for row, length in enumerate(lengths_B.tolist()):
        ids: list[int] = []
        memory = head.decoder.memory(frames_BTD[row : row + 1, :length], lengths_B[row : row + 1])
        while True:
            logits_1SV, _ = head.decoder(torch.tensor([[0, *ids]]), memory)
            for token in logits_1SV[0, -1].argsort(descending=True).tolist():
                longer = torch.tensor([[*ids, token]])
                if not token or int(frames_needed(longer, torch.tensor([len(ids) + 1]))) <= length:
                    break
            if not token:
                break
            ids.append(token)
        assert found[row].token_ids == tuple(ids)
        assert list(found[row].token_frames) == sorted(found[row].token_frames)
        assert all(end <= length for end in found[row].token_ends)


@pytest.mark.parametrize(
    "options",
    [{"beam": 1}, {"beam": 4}, {"beam": 4, "length_bonus": 1.0}, {"beam": 4, "ctc_weight": 0.0}],
)
def test_an_utterance_is_read_alone_as_in_a_batch(options: dict[str, Any]) -> None:
    head = make(vocab_size=9)
    outputs_BTX, lengths_B = outputs(head, 20), torch.tensor([20, 7, 1, 13])
    searches: list[HybridSearch] = [HybridBeam(head=head, **options)]
    searches.append(HybridRescore(head=head, **options))

    for search in searches:
        together = search(outputs_BTX, lengths_B)
        for row, length in enumerate(lengths_B.tolist()):
            (alone,) = search(outputs_BTX[row : row + 1, :length], lengths_B[row : row + 1])
            assert alone.token_ids == together[row].token_ids
            assert alone.token_frames == together[row].token_frames


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_a_decoder_that_never_ends_is_stopped_and_that_is_said(ratio: float) -> None:
    head = make(end_bias=-1e4)
    search = HybridBeam(head=head, beam=2, ctc_weight=0.0, max_length_ratio=ratio)
    assert not search.notice

    found = search(outputs(head, 16), torch.tensor([16, 8, 0, 4]))

    for one, length in zip(found, [16, 8, 0, 4], strict=True):
        assert len(one.token_ids) <= length * ratio
    assert len(found[0].token_ids) >= 4
    assert search.notice.startswith("decoder stopped in 3 chunks")
    assert len(search.notice.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, r"decode\.beam=0: allowed"),
        ({"beam": 2, "n_best": 3}, r"decode\.n_best=3: allowed: at most decode\.beam=2"),
        ({"ctc_weight": 1.0}, r"decode\.ctc_weight=1\.0: allowed"),
        ({"max_length_ratio": 0.0}, r"decode\.max_length_ratio=0\.0: allowed"),
        ({"length_bonus": float("nan")}, r"decode\.length_bonus=nan: allowed"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        HybridBeam(head=make(), **options)

    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("search", ["hybrid.HybridBeam", "rescore.HybridRescore"])
def test_a_package_with_a_hybrid_head_transcribes_files_with_times(
    search: str, tmp_path: Path
) -> None:
    config = {**HYBRID, "decode": {"_target_": f"asr.decode.{search}", "beam": 2}}
    recogniser = load_recogniser(save_tiny_package(tmp_path / "model", config))
    decoder = build_search(config["decode"], recogniser.model)
    short, long = write_noise(tmp_path / "a.wav", 2.0), write_noise(tmp_path / "b.wav", 7.0)

    def read(batch_s: float) -> list[Any]:
        transcriber = Transcriber(
            recogniser, decoder, chunk_s=4.0, overlap_s=1.0, batch_s=batch_s, silence_db=None
        )
        return transcriber.transcribe([short, long])

    together, alone = read(60.0), read(1.0)

    assert together == alone
    assert any(one.text for one in together)
    for one in together:
        times = [time for word in one.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert all(0 <= time <= one.duration_s for time in times)


def test_transcribe_serves_it_and_says_where_the_decoder_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = {**HYBRID["decode"], "max_length_ratio": 0.05}
    folder = save_tiny_package(tmp_path / "model", {**HYBRID, "decode": decode})
    audio = write_noise(tmp_path / "a.wav", 3.0)

    assert main(["transcribe", str(audio), "--model", str(folder)]) == 0
    as_told = capsys.readouterr()
    assert "decoder stopped in 1 chunk without an end token" in as_told.err

    search = "hybrid,beam=3,max_length_ratio=0.05,el_attention=true"  # and the same by EL-attention
    assert main(["transcribe", str(audio), "--model", str(folder), "--search", search]) == 0
    assert capsys.readouterr().out == as_told.out
    search = "rescore,beam=2"
    words = ["transcribe", str(audio), "--model", str(folder), "--search", search]
    assert main([*words, "--format", "json", "--n-best", "2"]) == 0
