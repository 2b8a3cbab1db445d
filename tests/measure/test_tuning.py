from __future__ import annotations

from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from asr.decode.beam import BeamDecoder
from asr.lm.hotwords import Hotword, hotword_automaton
from asr.lm.kneser_ney import estimate
from asr.measure.evaluation import evaluate
from asr.measure.tuning import tune
from asr.model.package import load_package
from tests.cli.runs import Command
from tests.decode.package import save_tiny_package
from tests.measure.analysis.cases import TEXTS, write_data


def test_the_rates_are_those_of_an_evaluation(tmp_path: Path) -> None:
    package = load_package(save_tiny_package(tmp_path / "model"))
    utterances = read_manifest(write_data(tmp_path))
    lm = tmp_path / "a.arpa"
    estimate([text.split() for text in TEXTS], order=2).write(lm)

    def search(weight: float, bonus: float) -> BeamDecoder:
        decoder = BeamDecoder(beam=4, lm=str(lm), lm_weight=weight, lm_word_bonus=bonus)
        decoder.read_lm(package.tokenizer, package.normalizer)
        hotwords = hotword_automaton([Hotword("a")], package.tokenizer, weight=0.1)
        decoder.scorers = (*decoder.scorers, hotwords)
        return decoder

    found = tune(package, utterances, search(0.7, 0.2), weights=[0.1, 2.0], bonuses=[0.0, 9.0])
    assert [(one.weight, one.bonus) for one in found] == [
        *((0.1, 0.0), (0.1, 9.0), (2.0, 0.0), (2.0, 9.0))
    ]
    for one in found:
        alone = evaluate(package, utterances, search(one.weight, one.bonus))
        assert one.wer == pytest.approx(alone.wer.wer, abs=3.0)  # float16 moves a word or two
    assert len({one.wer for one in found}) > 1


def test_the_command_tunes_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save_tiny_package(tmp_path / "model"), write_data(tmp_path)
    estimate([text.split() for text in TEXTS], order=2).write(tmp_path / "a.arpa")
    words = ("evaluate", "--model", model, "--data", data, "--lengths", "--tune")
    asr = Command(capsys)
    assert "--tune needs a language model" in asr(*words).error
    lm = ("--beam", "4", "--lm", tmp_path / "a.arpa")
    assert "leave them out" in asr(*words, *lm, "--lm-weight", "1").error
    done = asr(*words, *lm)
    assert done.code == 0, done.err
    assert done.err.count("--lm-weight ") == 25
    assert "fewest errors on test: --lm-weight " in done.err
