"""Beam search of CTC over the words of a lexicon, by flashlight-text (Kahn et al. 2022).

Only words of the lexicon are output, in the lexicon's spellings. n-grams of words score a word when
it ends; until then it has the score of the best word that it can become. The library is the extra
``flashlight``.

The library leaves a word at the first frame of its last token, so this token could not span several
frames. Therefore every token k has a copy V + k with the same log probabilities, and a spelling is
in the trie twice: unchanged, for a last token of one frame, and followed by the copy of its last
token, for one of several frames. This allows a few paths that CTC collapses differently (a blank
before the copy), so the sequences found are ranked by their exact sums over paths.

Shape legend: B batch, T frames, V vocabulary.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
from torch import Tensor

from asr.decode.beam import labels_of
from asr.decode.endings import check_n_best
from asr.decode.greedy import FrameLabels, GreedyDecoder
from asr.errors import InputError, check_installed, printable
from asr.files import read_bytes
from asr.lm.ngram import BEGIN, END, UNKNOWN, read_arpa
from asr.ranges import BeamSize, Bonus, Range, Tokens, Weight, in_ranges
from asr.text.tokenizer import WORD_START, Tokenizer
from asr.types import ScoredTokens

MAX_LEXICON_BYTES = 256 << 20
_NEVER = -1e30  # log probability of a token that no frame can have


@in_ranges("decode")
class FlashlightDecoder(GreedyDecoder):
    """Search for the most probable sequence of words of a lexicon, with n-grams of words.

    Args:
        lexicon: path of a file with one word per line, optionally with a tab and a spelling in
            pieces of the tokenizer, separated by spaces. Several lines give a word several
            spellings. Without a spelling, the tokenizer's own is used.
        beam: hypotheses kept after every frame.
        tokens_per_frame: number of most probable tokens of a frame that may extend hypotheses;
            null: all tokens.
        beam_threshold: a hypothesis is dropped if its log score is this much below the best.
        n_best: sequences in the result, at most ``beam``.
        lm: path of an ARPA file of words, also .gz; null: none.
        lm_weight: factor on its log probabilities.
        lm_word_bonus: added to the score per word.

    Raises:
        InputError: a value is outside its range, or ``n_best`` is above ``beam``.
    """

    def __init__(
        self,
        *,
        lexicon: str | None = None,
        beam: BeamSize = 50,
        tokens_per_frame: Tokens | None = 20,
        beam_threshold: Annotated[float, Range(0, 1e6, above=True)] = 50.0,
        n_best: BeamSize = 1,
        lm: str | None = None,
        lm_weight: Weight = 0.5,
        lm_word_bonus: Bonus = 0.5,
    ) -> None:
        super().__init__()
        check_n_best(n_best, beam)
        self.lexicon = lexicon
        self.beam = beam
        self.tokens_per_frame = tokens_per_frame
        self.beam_threshold = beam_threshold
        self.n_best = n_best
        self.lm = lm
        self.lm_weight = lm_weight
        self.lm_word_bonus = lm_word_bonus
        self._words: _Words | None = None

    def read_lm(
        self,
        tokenizer: Tokenizer,
        normalize: Callable[[str], str],
        device: torch.device | str = "cpu",
    ) -> None:
        """Read the lexicon and the language model; the search always runs on the CPU.

        Raises:
            InputError: see `read_lexicon` and `read_arpa`; there is no lexicon, the library is
                missing, or the language model is a folder, is over pieces, or has none of the words
                of the lexicon.
        """
        if self.lexicon is None:
            raise InputError("decode.lexicon: a file with a word on each line is needed: --lexicon")
        check_installed(f"decode.lexicon={self.lexicon}", ["flashlight"], extra="flashlight")
        spellings = read_lexicon(Path(self.lexicon), tokenizer, normalize)
        self._words = _Words.of(
            spellings, tokenizer.vocab_size, None if self.lm is None else Path(self.lm), normalize
        )

    def label(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[FrameLabels]:
        """Label each utterance by the best path of its best sequence, with the n-best list."""
        if not log_probs_BTV.shape[1]:
            return [self.blanks(0) for _ in lengths_B]
        found = self.search(log_probs_BTV, lengths_B)
        return labels_of(found, log_probs_BTV, lengths_B, self.n_best)

    def search(self, log_probs_BTV: Tensor, lengths_B: Tensor) -> list[list[ScoredTokens]]:
        """Return sequences of each utterance, best first; frames after its end are ignored."""
        assert self._words is not None, "read_lm comes first"
        decoder = self._words.decoder(self)
        log_probs_BTV = log_probs_BTV.float().cpu()
        # The library expects a token between words; here it is one that no frame has.
        never_BT1 = torch.full_like(log_probs_BTV[..., :1], _NEVER)
        given = torch.cat([log_probs_BTV, log_probs_BTV, never_BT1], -1)
        return [
            self._sequences(decoder, one[:length].contiguous())
            for one, length in zip(given, lengths_B.tolist(), strict=True)
        ]

    def _sequences(self, decoder: Any, given: Tensor) -> list[ScoredTokens]:
        """Return sequences of one utterance from log probabilities of tokens and copies (T, N)."""
        assert self._words is not None
        num_frames, num_tokens = given.shape
        results = decoder.decode(given.data_ptr(), num_frames, num_tokens) if num_frames else []
        added: dict[tuple[int, ...], float] = {}
        for one in results[: self.beam]:
            words = [word for word in one.words if word >= 0]  # start and end are negative
            ids = tuple(token for word in words for token in self._words.spellings[word])
            from_lm = self.lm_weight * math.log(10) * one.lmScore
            added.setdefault(ids, from_lm + self.lm_word_bonus * len(words))
        if not added:
            return [ScoredTokens((), 0.0)]
        acoustic = _sums(given[:, : self._words.vocab_size], list(added))
        found = [
            ScoredTokens(ids, sum_, extra)
            for (ids, extra), sum_ in zip(added.items(), acoustic, strict=True)
            if sum_ > -math.inf
        ]
        return sorted(found, key=lambda one: -one.score) or [ScoredTokens((), 0.0)]


def _sums(log_probs_TV: Tensor, sequences: Sequence[tuple[int, ...]]) -> list[float]:
    """Return the log probability of each sequence, summed over its paths."""
    num_frames, number = len(log_probs_TV), len(sequences)
    losses_N = torch.nn.functional.ctc_loss(
        log_probs_TV.unsqueeze(1).expand(-1, number, -1),
        torch.tensor([token for ids in sequences for token in ids], dtype=torch.int64),
        torch.full((number,), num_frames),
        torch.tensor(list(map(len, sequences))),
        reduction="none",
    )
    return [-loss for loss in losses_N.tolist()]


def read_lexicon(
    path: Path, tokenizer: Tokenizer, normalize: Callable[[str], str]
) -> dict[str, list[tuple[int, ...]]]:
    """Return the spellings in tokens of every word, normalised like transcripts.

    Raises:
        InputError: the file is missing, not UTF-8 or has no word; or, on a line, the normalised
            word is empty or several words, a character or piece is not in the model, or the pieces
            spell another word.
    """
    try:
        text = read_bytes(path, most=MAX_LEXICON_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error
    number = {piece: token for token, piece in enumerate(tokenizer.vocabulary)}
    found: dict[str, list[tuple[int, ...]]] = {}
    for at, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        given, _, pieces = line.partition("\t")
        word = normalize(given)
        where = f"{path}:{at}: {printable(given)!r}"
        if not word or " " in word:
            raise InputError(f"{where}: one word in the spelling of the model is expected")
        if unknown := [piece for piece in pieces.split() if piece not in number]:
            raise InputError(f"{where}: {printable(unknown[0])!r} is no piece of the model")
        if not pieces.strip() and (missing := tokenizer.unknown_characters(word)):
            raise InputError(f"{where}: the model cannot write {' '.join(map(printable, missing))}")
        ids = tuple(map(number.__getitem__, pieces.split())) or tuple(tokenizer.encode(word))
        if tokenizer.decode(ids).strip() != word:
            raise InputError(f"{where}: its pieces spell {printable(tokenizer.decode(ids))!r}")
        spellings = found.setdefault(word, [])
        if ids not in spellings:
            spellings.append(ids)
    if not found:
        raise InputError(f"{path}: no words, one is expected on each line")
    return found


@dataclass(frozen=True, slots=True)
class _Words:
    """The library's trie of spellings and language model.

    ``spellings`` has the first spelling of each word.
    """

    spellings: tuple[tuple[int, ...], ...]
    trie: Any
    lm: Any
    vocab_size: int

    @classmethod
    def of(
        cls,
        spellings: Mapping[str, Sequence[tuple[int, ...]]],
        vocab_size: int,
        lm: Path | None,
        normalize: Callable[[str], str],
    ) -> _Words:
        """Build the trie; words that ``lm`` does not list have the score of ``<unk>``."""
        from flashlight.lib.text.decoder import SmearingMode, Trie, ZeroLM
        from flashlight.lib.text.dictionary import Dictionary

        listed = {} if lm is None else _listed(lm, normalize)
        if lm is not None and not listed.keys() & spellings.keys():
            raise InputError(f"{lm}: it has none of the {len(spellings):,} words of the lexicon")
        dictionary = Dictionary()
        for word in spellings:
            dictionary.add_entry(listed.get(word, f"{UNKNOWN} {word}"))
        model = ZeroLM() if lm is None else _kenlm(lm, dictionary)
        start = model.start(False)
        trie = Trie(2 * vocab_size + 1, 2 * vocab_size)
        for index, those in enumerate(spellings.values()):
            _, score = model.score(start, index)
            for ids in those:
                trie.insert([*ids], index, score)
                trie.insert([*ids, vocab_size + ids[-1]], index, score)
        trie.smear(SmearingMode.MAX)
        return cls(tuple(those[0] for those in spellings.values()), trie, model, vocab_size)

    def decoder(self, settings: FlashlightDecoder) -> Any:
        """Return a decoder for one thread."""
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconDecoder,
            LexiconDecoderOptions,
        )

        options = LexiconDecoderOptions(
            beam_size=settings.beam,
            beam_size_token=2 * min(settings.tokens_per_frame or self.vocab_size, self.vocab_size),
            beam_threshold=settings.beam_threshold,
            lm_weight=settings.lm_weight * math.log(10),  # KenLM's logarithms are to the base 10
            word_score=settings.lm_word_bonus,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        no_token, no_word, blank_id = 2 * self.vocab_size, -1, settings.blank_id
        return LexiconDecoder(options, self.trie, self.lm, no_token, blank_id, no_word, [], False)


def _listed(path: Path, normalize: Callable[[str], str]) -> dict[str, str]:
    """Return the words of an ARPA file by their spelling in transcripts."""
    if path.is_dir():
        raise InputError(f"{path}: with a lexicon a language model is an ARPA file of words")
    model = read_arpa(path)
    if any(WORD_START in word for word in model.vocabulary):
        raise InputError(f"{path}: has pieces; with a lexicon n-grams of words are expected")
    unigrams = model.orders[0]
    likely = zip(unigrams.log10.tolist(), unigrams.words[:, 0].tolist(), strict=True)
    return {
        normalize(word): word
        for _, place in sorted(likely)
        if (word := model.vocabulary[place]) not in (BEGIN, END, UNKNOWN)
    }


def _kenlm(path: Path, dictionary: Any) -> Any:
    from flashlight.lib.text.decoder.kenlm import KenLM

    if path.suffix != ".gz":
        return KenLM(str(path), dictionary)
    with TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.stem
        with gzip.open(path) as packed, unpacked.open("wb") as file:
            while block := packed.read(1 << 20):
                file.write(block)
        return KenLM(str(unpacked), dictionary)
