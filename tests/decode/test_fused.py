"""Language models and hotwords in every search that takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

import asr
from asr.cli.main import main
from asr.decode.fusion import FusedSearch
from asr.decode.hybrid import HybridBeam, HybridSearch
from asr.decode.recogniser import load_recogniser
from asr.decode.rescore import HybridRescore
from asr.decode.search import build_search, with_beam, with_hotwords
from asr.decode.transcribe import Transcriber
from asr.decode.transducer import TransducerGreedy
from asr.decode.transducer_beam import TransducerBeam
from asr.head.transducer import TransducerHead
from asr.lm.automaton import TokenScorer
from asr.lm.hotwords import Hotword
from asr.lm.kneser_ney import estimate
from asr.model.asr_model import AsrModel
from tests.decode import hybrid, test_transducer_beam
from tests.decode.hybrid import HYBRID, every_sequence, outputs
from tests.decode.package import save_tiny_package, write_noise
from tests.decode.test_beam import Bigram, Prefix
from tests.model.configs import CONFIG

Make: TypeAlias = Callable[[Sequence[TokenScorer]], tuple[Any, Tensor]]
"""Makes a search with scorers, and the output of a head for four utterances of `FRAMES`."""

FRAMES, LENGTHS = 20, torch.tensor([20, 7, 1, 13])
LOUD = 3
TDT = {
    **CONFIG,
    "head": {"_target_": "asr.head.transducer.TransducerHead", "durations": [0, 1, 2]},
    "decode": {"_target_": "asr.decode.transducer.TransducerGreedy"},
}


@torch.no_grad()
def transducer(search: type, kind: dict[str, Any]) -> Make:
    head = test_transducer_beam.make(kind, blank_bias=0.0)
    generator = torch.Generator().manual_seed(2)
    outputs_BTJ = head(torch.randn(4, FRAMES, test_transducer_beam.D, generator=generator))
    return lambda scorers: (search(head=head, scorers=scorers), outputs_BTJ)


def both(search: type, **options: Any) -> Make:
    head = hybrid.make()
    outputs_BTX = outputs(head, FRAMES)
    return lambda scorers: (search(head=head, scorers=scorers, **options), outputs_BTX)


SEARCHES: dict[str, Make] = {
    "greedy RNN-T": transducer(TransducerGreedy, {}),
    "greedy RNN-T, LSTM": transducer(
        TransducerGreedy, {"predictor": "lstm", "predictor_layers": 2}
    ),
    "greedy TDT": transducer(TransducerGreedy, {"durations": [0, 1, 2]}),
    "beam RNN-T": transducer(TransducerBeam, {}),
    "hybrid": both(HybridBeam, beam=4),
    "hybrid greedy": both(HybridBeam, beam=1, ctc_weight=0.0, tokens_per_step=None),
    "hybrid rescored": both(HybridRescore, beam=4),
}


def ids(search: Any, outputs_BTX: Tensor, lengths_B: Tensor = LENGTHS) -> list[Prefix]:
    return [one.token_ids for one in search(outputs_BTX, lengths_B)]


def weighted(weight: float, seed: int = 3) -> Bigram:
    scorer = Bigram(seed)
    scorer.table *= weight
    scorer.ends *= weight
    return scorer


@pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)
def test_weights_of_zero_are_none(make: Make) -> None:
    search, outputs_BTX = make([])
    fused, _ = make([weighted(0.0), weighted(0.0, seed=4)])
    assert isinstance(fused, FusedSearch)
    assert ids(fused, outputs_BTX) == ids(search, outputs_BTX)
    assert fused.warning == ""


@pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)
def test_a_scorer_turns_the_result_alone_as_in_a_batch(make: Make) -> None:
    plain, outputs_BTX = make([])
    search, _ = make([weighted(1.0), weighted(2.0, seed=4)])
    together = ids(search, outputs_BTX)
    assert together != ids(plain, outputs_BTX)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = ids(search, outputs_BTX[row : row + 1, :length], LENGTHS[row : row + 1])
        assert alone == together[row : row + 1]


@torch.no_grad()
@pytest.mark.parametrize("make", SEARCHES.values(), ids=SEARCHES)
def test_scorers_that_outweigh_the_audio_are_warned_about(make: Make) -> None:
    loud = Bigram(0)
    loud.table[:, LOUD] = 400.0
    search, outputs_BTX = make([loud])
    search.head = deepcopy(search.head)
    if isinstance(search, HybridSearch):
        search.head.decoder.output.weight *= 20
        outputs_BTX = outputs_BTX.clone()
        outputs_BTX[..., : hybrid.V] = (20 * outputs_BTX[..., : hybrid.V]).log_softmax(-1)
    else:
        search.head.joint.weight *= 20
    found = ids(search, outputs_BTX)
    assert sum(one.count(LOUD) for one in found) > sum(map(len, found)) / 3
    assert "outweigh the audio" in search.notice


@pytest.mark.parametrize("weight", [0.3, 0.0])
def test_a_hybrid_beam_that_holds_all_finds_the_best_by_audio_and_scorer(weight: float) -> None:
    head, scorer, lengths_B = hybrid.make(), Bigram(1), hybrid.LENGTHS
    search = HybridBeam(
        head=head, beam=300, ctc_weight=weight, tokens_per_step=None, scorers=[scorer]
    )
    found = search.search(outputs(head), lengths_B)
    for row, length in enumerate(lengths_B.tolist()):
        if length:
            outputs_1TX = outputs(head)[row : row + 1, :length]
            every = every_sequence(head, outputs_1TX, length, weight, 0.0)
            acoustic, best = max(every, key=lambda one: one[0] + scorer.of(one[1]))
            assert found[row][0].token_ids == best
            assert found[row][0].acoustic == pytest.approx(acoustic, abs=1e-4)
            assert found[row][0].added == pytest.approx(scorer.of(best), abs=1e-6)


def test_what_load_adds_to_the_search_of_a_hybrid_head(tmp_path: Path) -> None:
    folder = save_tiny_package(tmp_path / "model", HYBRID)
    audio = str(write_noise(tmp_path / "a.wav", 1.0))
    plain = asr.load(folder, beam=100).transcribe(audio).text
    assert "cat" not in plain.split()
    model = asr.load(folder, beam=100, hotwords=["cat"], hotword_weight=20.0)
    assert "cat" in model.transcribe(audio).text.split()
    estimate([["cat", "cat"]], order=1).write(tmp_path / "cat.arpa")
    lm = asr.load(folder, lm=tmp_path / "cat.arpa", lm_weight=9.0, lm_word_bonus=40.0)
    assert lm.transcribe(audio).text != plain


def test_hotwords_in_the_greedy_search_of_tdt(tmp_path: Path) -> None:
    recogniser = load_recogniser(save_tiny_package(tmp_path / "model", TDT))
    assert isinstance(recogniser.model, AsrModel)
    head = recogniser.model.head
    assert isinstance(head, TransducerHead)
    with torch.no_grad():  # more spaces, behind which a word can begin
        head.joint.bias[recogniser.tokenizer.encode("a")[0]] += 4.0
    audio = write_noise(tmp_path / "a.wav", 2.0)

    def words(hotword_weight: float) -> list[str]:
        search = build_search(with_beam(recogniser.config), recogniser.model)
        assert isinstance(search, TransducerGreedy)
        hot = with_hotwords(search, [Hotword("cat")], recogniser, hotword_weight)
        assert isinstance(hot, TransducerGreedy)
        return Transcriber(recogniser, hot).transcribe(audio).text.split()

    assert "cat" not in words(0.0)
    assert "cat" in words(20.0)


def test_what_a_search_cannot_do_is_refused_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_package(tmp_path / "model", TDT)
    audio = write_noise(tmp_path / "a.wav", 1.0)
    words = ["transcribe", str(audio), "--model", str(folder)]
    for option in (["--beam", "4"], ["--rescore-lm", "a.arpa"]):
        assert main([*words, *option]) == 2
        error = capsys.readouterr().err
        assert f"{option[0]} is not an option of the search transducer; allowed: --" in error
    assert main([*words, "--hotwords", "cat"]) == 0
