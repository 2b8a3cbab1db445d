from __future__ import annotations

from dataclasses import replace

from asr.report.card import model_card

from .records import TRAINING, none_record, probs_record


def test_the_card_says_what_a_stranger_needs() -> None:
    card = model_card(probs_record(config={"name": "digits"}))
    for line in (
        "# digits: probs",
        "Speech recogniser of 1,247,000 parameters, reuse method `probs`.",
        "    asr transcribe FILE --model THIS_FOLDER",
        "- train: 100 utterances, 0.25 h, 900 words",
        "- test: 2 utterances, 0.01 h, 20 words",
        "500 steps, 8 epochs, 314 s.",
    ):
        assert line in card.splitlines()
    assert "| probs | probs | LFFF |" in card
    assert "WER % test" in card
    assert "60 s: vs fused" in card


def test_a_record_without_a_name_is_called_by_its_run() -> None:
    assert model_card(none_record()).startswith("# none: none\n")


def test_an_interrupted_run_says_so() -> None:
    card = model_card(none_record(training=replace(TRAINING, interrupted=True), wer={}, latency=()))
    assert "500 steps, 8 epochs, 314 s, interrupted." in card
    assert "WER %" not in card


def test_a_run_that_only_measured_is_not_trained() -> None:
    assert "\nNot trained.\n" in model_card(none_record(training=None, data={}, wer={}))
