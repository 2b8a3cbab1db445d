"""The search of a lexicon against sums over paths of every sequence of its words."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import asr
from asr.cli.main import main
from asr.decode.flashlight import FlashlightDecoder, read_lexicon
from asr.errors import InputError
from asr.lm.kneser_ney import estimate
from asr.text.tokenizer import Tokenizer
from tests.decode.package import TEXTS, save_tiny_package, write_noise

needs_library = pytest.mark.skipif(
    find_spec("flashlight") is None, reason="flashlight-text, of the extra flashlight, is missing"
)
FRAMES = 8
WORDS = ("a", "at", "cat")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, kind="char", vocab_size=30)


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join((*WORDS, "")), encoding="utf-8")
    return path


def frames(tokenizer: Tokenizer, batch: int = 1, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits_BTV = torch.randn(batch, FRAMES, tokenizer.vocab_size, generator=generator)
    return logits_BTV.log_softmax(-1)


def make(lexicon: Path, tokenizer: Tokenizer, **options: Any) -> FlashlightDecoder:
    decoder = FlashlightDecoder(lexicon=str(lexicon), tokens_per_frame=None, **options)
    decoder.read_lm(tokenizer, str)
    return decoder


def log_prob(log_probs_TV: Tensor, ids: tuple[int, ...]) -> float:
    loss = torch.nn.functional.ctc_loss(
        log_probs_TV.unsqueeze(1),
        torch.tensor([ids], dtype=torch.int64),
        torch.tensor([len(log_probs_TV)]),
        torch.tensor([len(ids)]),
        reduction="none",
    )
    return -float(loss)


@needs_library
@pytest.mark.parametrize("with_lm", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_all_sequences_of_words_is_found(
    lexicon: Path, tokenizer: Tokenizer, with_lm: bool, seed: int
) -> None:
    model = estimate([["a", "cat"], ["cat", "at"], ["cat"]], order=2)
    bigrams = {
        ("<s>", "a"): -0.587820, ("<s>", "cat"): -0.330993, ("a", "cat"): -0.198368,
        ("cat", "</s>"): -0.330993, ("cat", "at"): -0.587820, ("at", "</s>"): -0.198368,
    }  # fmt: skip
    unigrams = {"a": -0.736759, "cat": -0.574031, "at": -0.736759, "</s>": -0.574031}
    model.write(lexicon.parent / "lm.arpa.gz")

    def lm_log10(words: tuple[str, ...]) -> float:
        pairs = zip(("<s>", *words), (*words, "</s>"), strict=True)
        return sum(bigrams.get(pair, -0.301030 + unigrams[pair[1]]) for pair in pairs)

    lm = {"lm": str(lexicon.parent / "lm.arpa.gz"), "lm_weight": 0.7} if with_lm else {}
    decoder = make(lexicon, tokenizer, beam=1000, beam_threshold=1e5, lm_word_bonus=0.4, **lm)
    log_probs_BTV = frames(tokenizer, seed=seed)
    (found,) = decoder.search(log_probs_BTV, torch.tensor([FRAMES]))

    expected = {}
    for words in (those for n in range(5) for those in product(WORDS, repeat=n)):
        ids = tuple(token for word in words for token in tokenizer.encode(word))
        if len(ids) <= FRAMES:
            acoustic = log_prob(log_probs_BTV[0], ids)
            added = 0.4 * len(words) + (0.7 * math.log(10) * lm_log10(words) if with_lm else 0)
            expected[ids] = (acoustic, added)
    best = max(expected, key=lambda ids: sum(expected[ids]))
    assert found[0].token_ids == best
    for one in found:
        assert (one.acoustic, one.added) == pytest.approx(expected[one.token_ids], abs=1e-4)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@needs_library
def test_an_utterance_is_read_alone_as_in_a_batch(lexicon: Path, tokenizer: Tokenizer) -> None:
    decoder = make(lexicon, tokenizer, n_best=2)
    log_probs_BTV, lengths_B = frames(tokenizer, 4), torch.tensor([FRAMES, 3, 0, 6])
    together = decoder(log_probs_BTV, lengths_B)
    assert any(one.token_ids for one in together)
    for row, length in enumerate(lengths_B.tolist()):
        (alone,) = decoder(log_probs_BTV[row : row + 1, :length], lengths_B[row : row + 1])
        assert alone.token_ids == together[row].token_ids
        assert alone.token_frames == together[row].token_frames


@needs_library
def test_a_last_token_may_last_for_several_frames(lexicon: Path, tokenizer: Tokenizer) -> None:
    path = tokenizer.encode("cat a")
    held = [path[0], *path[1:3], *[path[3]] * 3, path[4], *[path[5]] * 2]
    probs_TV = torch.full((len(held), tokenizer.vocab_size), 0.001)
    probs_TV[torch.arange(len(held)), torch.tensor(held)] = 1.0
    log_probs_BTV = (probs_TV / probs_TV.sum(-1, keepdim=True)).log()[None]
    (found,) = make(lexicon, tokenizer)(log_probs_BTV, torch.tensor([len(held)]))
    assert tokenizer.decode(found.token_ids) == "cat a"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no words, one is expected on each line"),
        ("a\ncat sat\n", r"words\.txt:2: 'cat sat': one word in the spelling"),
        ("a\nzoo\n", r"words\.txt:2: 'zoo': the model cannot write z"),
        ("a\tq\n", r"words\.txt:1: 'a': 'q' is no piece of the model"),
        ("cat\t\N{LOWER ONE EIGHTH BLOCK} a t\n", r"'cat': its pieces spell 'at'"),
    ],
)
def test_a_line_that_is_no_word_is_named(
    tmp_path: Path, tokenizer: Tokenizer, lines: str, message: str
) -> None:
    path = tmp_path / "words.txt"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_lexicon(path, tokenizer, str)


def test_several_spellings_of_a_word(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "words.txt"
    path.write_text("at\nat\t\N{LOWER ONE EIGHTH BLOCK} a t\n\nA\n", encoding="utf-8")
    found = read_lexicon(path, tokenizer, str.lower)
    assert list(found) == ["at", "a"]
    assert found["at"] == [tuple(tokenizer.encode("at"))]  # both lines are the same


def test_without_the_library_the_extra_is_named(
    lexicon: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.errors.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'encore-asr\[flashlight\]'"):
        FlashlightDecoder(lexicon=str(lexicon)).read_lm(tokenizer, str)
    with pytest.raises(InputError, match="--lexicon"):
        FlashlightDecoder().read_lm(tokenizer, str)


@needs_library
def test_only_words_of_the_lexicon_are_transcribed(
    tmp_path: Path, lexicon: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, audio = save_tiny_package(tmp_path / "model"), write_noise(tmp_path / "a.wav", 2.0)
    words = ["transcribe", str(audio), "--model", str(folder), "--lexicon", str(lexicon)]
    assert main([*words, "--tokens-per-frame", "30"]) == 0
    text = capsys.readouterr().out.split()
    assert text
    assert set(text) <= set(WORDS)
    model = asr.load(folder, lexicon=lexicon)
    assert set(model.transcribe(str(audio)).text.split()) <= set(WORDS)
    with pytest.raises(InputError, match=r"hotwords: asr\.decode\.flashlight\.Flash"):
        asr.load(folder, lexicon=lexicon, hotwords=["cat"])
    estimate([["dog", "ran"]], order=1).write(tmp_path / "dog.arpa")
    for more, message in (
        (["--hotwords", "cat"], "--hotwords: the search flashlight takes none"),
        (["--lm", str(tmp_path / "dog.arpa")], "it has none of the 3 words of the lexicon"),
        (["--lm", str(tmp_path)], "with a lexicon a language model is an ARPA file of words"),
        (["--skip-blank", "0.9"], "--skip-blank is not an option of the search flashlight"),
    ):
        assert main([*words, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
