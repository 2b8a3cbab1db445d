import io
import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import InputError
from asr.text.pieces import Piece, PieceModel, PieceType, piece_model_bytes
from asr.text.tokenizer import BLANK_PIECE, UNKNOWN_PIECE, Tokenizer, TokenizerKind, TokenizerSpec

TEXTS = ("HELLO WORLD", "THE CAT SAT ON THE MAT", "IT'S A DOG", "THE BOOKKEEPER FELL") * 3
CHARACTERS = " 'ABCDEFGHIKLMNOPRSTW"
SIZES: dict[TokenizerKind, int] = {"char": 23, "bpe": 30, "unigram": 25}
TOKENIZERS = {
    kind: Tokenizer.train(TEXTS, kind=kind, vocab_size=size) for kind, size in SIZES.items()
}
kinds = pytest.mark.parametrize("kind", SIZES)


@kinds
def test_blank_unknown_and_size(kind: TokenizerKind) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.vocab_size == SIZES[kind]
    assert (tokenizer.blank_id, tokenizer.unk_id) == (0, 1)
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    assert pieces[:2] == ["<blank>", "<unk>"]
    assert len(set(pieces)) == len(pieces)


@kinds
@pytest.mark.parametrize("text", ["", "A", "HELLO WORLD", "TTTT", "SO OLD A GOD'S HEEL"])
def test_decode_undoes_encode(kind: TokenizerKind, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    token_ids = tokenizer.encode(text)
    assert tokenizer.decode(token_ids) == text
    assert not {tokenizer.blank_id, tokenizer.unk_id} & set(token_ids)
    assert "".join(tokenizer.pieces(token_ids)).replace("▁", " ").strip() == text


@kinds
@given(words=st.lists(st.text(CHARACTERS[1:], min_size=1, max_size=8), max_size=6))
def test_decode_undoes_encode_for_any_text(kind: TokenizerKind, words: list[str]) -> None:
    text = " ".join(words)
    assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode(text)) == text


def test_char_gives_one_token_a_character() -> None:
    tokenizer = TOKENIZERS["char"]
    token_ids = tokenizer.encode("FELL OOO")
    assert tokenizer.pieces(token_ids) == ["▁", "F", "E", "L", "L", "▁", "O", "O", "O"]
    assert token_ids[3] == token_ids[4]


def test_subwords_are_fewer_than_characters() -> None:
    num_tokens = {kind: len(TOKENIZERS[kind].encode("THE CAT SAT")) for kind in SIZES}
    assert num_tokens["bpe"] < num_tokens["char"]
    assert num_tokens["unigram"] < num_tokens["char"]


def test_words_are_tokens_and_rare_ones_unknown() -> None:
    tokenizer = Tokenizer.train([*TEXTS, "CAT SAT"], kind="word", vocab_size=4)
    assert tokenizer.vocabulary == ["<blank>", "<unk>", "▁THE", "▁CAT"]
    assert tokenizer.encode("THE DOG SAW THE CAT") == [2, 1, 1, 2, 3]
    assert tokenizer.decode([2, 1, 0, 1, 2, 3]) == "THE ⁇ ⁇ THE CAT"
    assert tokenizer.unknown_characters("THAT ACE") == ""
    assert tokenizer.unknown_characters("DOG") == "DGO"
    assert Tokenizer.from_bytes(tokenizer.to_bytes()).characters == " ACEHT"


def test_surfaces_spell_unknown_tokens_as_the_text_does() -> None:
    of_words = Tokenizer.train([*TEXTS, "CAT SAT"], kind="word", vocab_size=4)
    assert of_words.surfaces([2, 1, 1, 3]) == ["▁THE", "▁⁇", "▁⁇", "▁CAT"]
    char = TOKENIZERS["char"]
    assert char.surfaces(char.encode("CAZT")) == ["▁", "C", "A", "⁇", "T"]


def test_surfaces_of_bytes_are_their_text() -> None:
    names = [BLANK_PIECE, UNKNOWN_PIECE, *(f"<0x{byte:02X}>" for byte in range(256)), "▁A", "B"]
    types = [PieceType.CONTROL, PieceType.UNKNOWN, *[PieceType.BYTE] * 256]
    types += [PieceType.NORMAL] * 2
    pieces = [Piece(name, -1.0, kind) for name, kind in zip(names, types, strict=True)]
    tokenizer = Tokenizer(piece_model_bytes(PieceModel("bpe", tuple(pieces))))
    ids = [258, *(2 + byte for byte in "é".encode()), 1, 259]
    assert tokenizer.surfaces(ids) == ["▁A", "é", "", "⁇", "B"]
    assert tokenizer.decode(ids) == "Aé⁇B"


def test_a_vocabulary_of_words_needs_one() -> None:
    with pytest.raises(InputError, match="vocab_size: 2 is too small for"):
        Tokenizer.train(TEXTS, kind="word", vocab_size=2)


@kinds
def test_unknown_characters(kind: TokenizerKind) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.characters == CHARACTERS
    assert tokenizer.unknown_characters("THE CAT") == ""
    assert tokenizer.unknown_characters("ÜBER THE JAZZ") == "JZÜ"
    token_ids = tokenizer.encode("CAZT")
    assert token_ids.count(tokenizer.unk_id) == 1
    assert tokenizer.decode(token_ids) == "CA⁇T"


@kinds
def test_blanks_vanish_and_special_pieces_are_only_text(kind: TokenizerKind) -> None:
    tokenizer = TOKENIZERS[kind]
    token_ids = tokenizer.encode("A DOG")
    with_blanks = [token_id for pair in zip(token_ids, [0] * 99, strict=False) for token_id in pair]
    assert tokenizer.decode(with_blanks) == "A DOG"
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode([0, 0]) == ""
    assert tokenizer.blank_id not in tokenizer.encode("<blank>")


@kinds
def test_training_is_deterministic_quiet_and_leaves_no_file(
    kind: TokenizerKind,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = Tokenizer.train(iter(TEXTS), kind=kind, vocab_size=SIZES[kind])
    assert trained.to_bytes() == TOKENIZERS[kind].to_bytes()
    assert list(tmp_path.iterdir()) == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_reads_the_texts_once() -> None:
    def texts() -> Iterator[str]:
        yield from TEXTS

    assert Tokenizer.train(texts(), kind="bpe", vocab_size=30).vocab_size == 30


@kinds
def test_a_long_text_counts_too(kind: TokenizerKind) -> None:
    long_text = "A B " * 5000 + "Z"
    tokenizer = Tokenizer.train([long_text], kind=kind, vocab_size=6)
    assert tokenizer.characters == " ABZ"


@kinds
def test_more_pieces_than_the_text_has(
    kind: TokenizerKind, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tokenizer = Tokenizer.train(TEXTS, kind=kind, vocab_size=5000)
    assert len(CHARACTERS) + 2 <= tokenizer.vocab_size < 5000
    assert tokenizer.decode(tokenizer.encode("THE CAT")) == "THE CAT"
    expected = (
        "text.tokenizer.vocab_size: the transcripts give "
        f"{tokenizer.vocab_size} pieces at most, not 5000"
    )
    # characters are all there are, so nobody counts them before
    assert caplog.messages == ([] if kind == "char" else [expected])


def test_a_vocabulary_that_must_be_there_names_the_largest() -> None:
    largest = Tokenizer.train(TEXTS, kind="bpe", vocab_size=5000).vocab_size
    spec = TokenizerSpec(kind="bpe", vocab_size=largest + 1, of_init=False)
    message = f"vocab_size={largest + 1}: more than the .* {len(CHARACTERS) + 2} to {largest}$"
    with pytest.raises(InputError, match=message):
        spec.train(TEXTS)
    assert replace(spec, vocab_size=largest).train(TEXTS).vocab_size == largest
    assert replace(spec, kind="char").train(TEXTS).vocab_size == len(CHARACTERS) + 2


@kinds
def test_too_small_for_the_characters(kind: TokenizerKind) -> None:
    smallest = len(CHARACTERS) + 2
    message = rf"text\.tokenizer\.vocab_size: {smallest - 1} is too small .* {smallest} or more"
    with pytest.raises(InputError, match=message):
        Tokenizer.train(TEXTS, kind=kind, vocab_size=smallest - 1)
    assert Tokenizer.train(TEXTS, kind=kind, vocab_size=smallest).vocab_size == smallest


@kinds
@pytest.mark.parametrize("texts", [(), ("",), (" ", "\n")])
def test_no_text(kind: TokenizerKind, texts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"text\.tokenizer: no text to train on"):
        Tokenizer.train(texts, kind=kind, vocab_size=100)


def test_unknown_kind() -> None:
    with pytest.raises(
        InputError, match=r"text\.tokenizer\.kind: 'morph' .* char, bpe, unigram, word"
    ):
        Tokenizer.train(TEXTS, kind="morph", vocab_size=100)  # type: ignore[arg-type]


@kinds
def test_texts_as_they_come(kind: TokenizerKind) -> None:
    """Line breaks, repeated spaces and characters sentencepiece reserves do no harm."""
    tokenizer = Tokenizer.train(["A\nB", "", "  A\u2581C \u2585 A"], kind=kind, vocab_size=6)
    assert tokenizer.characters == " ABC"
    assert tokenizer.decode(tokenizer.encode("A C B")) == "A C B"


@kinds
def test_bytes_file_and_pickle_keep_everything(kind: TokenizerKind, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[kind]
    tokenizer.save(tmp_path / "tokenizer.model")
    for copy in (
        Tokenizer.load(tmp_path / "tokenizer.model"),
        Tokenizer.from_bytes(tokenizer.to_bytes()),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert copy.to_bytes() == tokenizer.to_bytes()
        assert copy.vocab_size == tokenizer.vocab_size
        assert copy.characters == tokenizer.characters
        assert copy.encode("THE MAT") == tokenizer.encode("THE MAT")


def foreign_model() -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        model_type="char",
        vocab_size=40,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a tokenizer: empty"),
        (b"plain text", "sentencepiece cannot read it"),
        (TOKENIZERS["bpe"].to_bytes()[:-7], "sentencepiece cannot read it"),
        (foreign_model(), "piece 0 must be <blank> and piece 1 <unk>, here they are <unk> and <s>"),
    ],
)
def test_file_that_is_no_tokenizer_of_ours(
    tmp_path: Path, content: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as raised:
        Tokenizer.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.model: cannot be read \(No such file"):
        Tokenizer.load(tmp_path / "none.model")
    with pytest.raises(InputError, match="not a file but a folder"):
        Tokenizer.load(tmp_path)


def test_spec_trains_or_loads(tmp_path: Path) -> None:
    trained = TokenizerSpec(kind="bpe", vocab_size=30).train(TEXTS)
    assert trained.to_bytes() == TOKENIZERS["bpe"].to_bytes()
    TOKENIZERS["char"].save(tmp_path / "a.model")
    spec = TokenizerSpec(kind="bpe", vocab_size=30, model=str(tmp_path / "a.model"))
    assert spec.train(()).to_bytes() == TOKENIZERS["char"].to_bytes()
