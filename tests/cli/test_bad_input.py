"""What a user can mend is one line that names the file or key, exit code 2, and nothing lost."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr.data.manifest import CheckedUtterance, write_manifest
from tests.decode.package import save_tiny_package, write_noise

from .bad_audio import BAD_AUDIO
from .runs import (
    SAMPLE_RATE_HZ,
    Command,
    Outcome,
    asr_process,
    files_in,
    write_corpus,
    write_recipe,
)

bad_audio = pytest.mark.parametrize(("make", "said"), BAD_AUDIO.values(), ids=BAD_AUDIO)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("tones"), num_train=4)


@pytest.fixture
def asr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line, called in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.fixture
def recipe(tmp_path: Path, corpus: Path) -> Path:
    return write_recipe(tmp_path / "tones.yaml", corpus)


def manifest(path: Path, *files: Path, text: str = "a cat") -> Path:
    utterances = [
        CheckedUtterance(file.stem, file, 0.0, 1.0, SAMPLE_RATE_HZ, 1, text, None) for file in files
    ]
    write_manifest(utterances, path)
    return path


# --- audio ---------------------------------------------------------------------------------------


@bad_audio
def test_transcribe(
    asr: Command, model: Path, tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "bad.wav")
    error = asr("transcribe", tmp_path / "bad.wav", "--model", model, "--strict").error
    assert f"{tmp_path / 'bad.wav'}: " in error
    assert said in error


@bad_audio
def test_prepare_skips_it(
    asr: Command, tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    audio = tmp_path / "audio"
    write_noise(audio / "good.wav", 1.0)
    make(audio / "bad.wav")
    table = tmp_path / "table.tsv"
    table.write_text("audio\ttext\ngood.wav\tA CAT\nbad.wav\tA DOG\n")
    done = asr("prepare", "folder", audio, "--transcripts", table, "--out", tmp_path / "out")
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if line.startswith("skipped: ")]
    assert "line 3" in line
    assert said in line
    assert "1 skipped" in done.err
    before = files_in(tmp_path / "out")
    error = asr(
        *("prepare", "folder", audio, "--transcripts", table, "--out", tmp_path / "out"), "--strict"
    ).err.splitlines()[-1]
    assert error.startswith("asr prepare: error: 1 bad rows")
    assert said in error
    assert files_in(tmp_path / "out") == before


@bad_audio
def test_prepare_needs_one_good_file(
    asr: Command, tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "audio").mkdir()
    make(tmp_path / "audio" / "bad.wav")
    table = tmp_path / "table.tsv"
    table.write_text("audio\ttext\nbad.wav\tA DOG\n")
    done = asr("prepare", "folder", "audio", "--transcripts", table, "--out", "out")
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("asr prepare: error: audio has no usable utterance; 1 skipped")
    assert said in last
    assert not Path("out").exists()


@bad_audio
def test_evaluate_counts_it(
    asr: Command, model: Path, tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(tmp_path / "bad.wav")
    good = write_noise(tmp_path / "good.wav", 1.0)
    both = manifest(tmp_path / "both.jsonl.gz", good, tmp_path / "bad.wav")
    done = asr("evaluate", "--model", model, "--data", both, "--lengths")
    assert done.code == 2  # the table stands, and not everything has a score
    assert "in 2 words of 2 utterances, 1 skipped" in done.err
    alone = manifest(tmp_path / "alone.jsonl.gz", tmp_path / "bad.wav")
    done = asr("evaluate", "--model", model, "--data", alone, "--lengths")
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("asr evaluate: error: none of 1 utterances could be read")


def test_training_passes_over_what_cannot_be_read(
    asr: Command, recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    (folder / "audio" / "train-1.wav").unlink()
    (folder / "audio" / "train-2.wav").write_text("text")
    words = ("train", recipe, f"splits.folder={folder}", "--no-latency", "splits.test=[train]")
    short = ("train.trainer.max_steps=2", "--run-dir", tmp_path / "run")
    done = asr(*words, *short)
    assert done.code == 3
    assert "2 of 4 utterances cannot be read, above data.loader.max_unreadable=0.1" in done.err
    done = asr(*words, *short, "data.loader.max_unreadable=0.5")
    assert done.code == 2, done.err  # trained, and what is scored was not all there
    assert "WER % train" in done.out
    assert "; 2 training utterances unreadable" in done.err


def test_training_without_a_readable_file_stops(
    asr: Command, recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    shutil.rmtree(folder / "audio")
    done = asr(*("train", recipe, f"splits.folder={folder}", "--run-dir", tmp_path / "run"))
    assert done.code == 3
    last = done.err.splitlines()[-1]
    assert last.startswith("asr train: error: 4 of 4 utterances cannot be read, above data.loader.")


# --- transcripts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "...", "\N{NO-BREAK SPACE}"])
def test_prepare_skips_an_empty_transcript(asr: Command, tmp_path: Path, text: str) -> None:
    for name in ("good.wav", "bad.wav"):
        write_noise(tmp_path / "audio" / name, 1.0)
    table = tmp_path / "table.tsv"
    table.write_text(f"audio\ttext\ngood.wav\tA CAT\nbad.wav\t{text}\n")
    words = ("prepare", "folder", "audio", "--transcripts", table, "--out", "out")
    done = asr(*words)
    assert done.code == 0
    assert f"skipped: {table}, line 3: empty transcript of bad\n" in done.err
    error = asr(*words, "--strict").err.splitlines()[-1]
    assert error.startswith("asr prepare: error: 1 bad rows in audio (strict)")
    assert "empty transcript of bad" in error


def test_a_manifest_with_an_empty_transcript_is_scored(
    asr: Command, model: Path, tmp_path: Path
) -> None:
    path = manifest(tmp_path / "test.jsonl.gz", write_noise(tmp_path / "a.wav", 1.0), text="")
    done = asr("evaluate", "--model", model, "--data", path, "--lengths", "--json", "-")
    assert done.code == 0
    assert '"words": 0' in done.out


def test_training_on_empty_transcripts_stops(
    asr: Command, recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    files = [corpus / "audio" / f"train-{index}.wav" for index in range(2)]
    manifest(tmp_path / "data" / "train.jsonl.gz", *files, text="...")
    words = ("splits.folder=data", "splits.dev=null", "splits.test=[]", "--run-dir", "run")
    error = asr("train", recipe, *words).error
    assert "no text to train on; every transcript is empty" in error
    assert not Path("run").exists()


def test_a_transcript_the_model_cannot_write(asr: Command, model: Path, tmp_path: Path) -> None:
    path = manifest(
        tmp_path / "test.jsonl.gz", write_noise(tmp_path / "a.wav", 1.0), text="a quiz, née"
    )
    words = ("evaluate", "--model", model, "--data", path, "--lengths")
    error = asr(*words, "--out", tmp_path / "out").error
    assert "transcript of a has characters 'quzé'" in error
    assert 'allowed are " \'acdeghimnorst"' in error
    assert not (tmp_path / "out").exists()
    done = asr(*words, "--allow-unknown")
    assert done.code == 0
    assert "in 3 words of 1 utterances" in done.err


def test_a_split_with_characters_the_training_split_has_not(
    asr: Command, recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "data")
    manifest(tmp_path / "data" / "dev.jsonl.gz", corpus / "audio" / "dev-0.wav", text="QUAX")
    error = asr("train", recipe, "splits.folder=data", "--run-dir", "run").error
    assert "transcript of dev-0 has characters" in error
    assert not Path("run").exists()


# --- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_model_folder_with_a_missing_file(
    asr: Command, model: Path, tmp_path: Path, verb: str, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / name).unlink()
    error = use_model(asr, verb, folder, tmp_path).error
    assert error == (
        f"asr {verb}: error: {folder}: {name} missing; "
        "a model folder holds model.safetensors, config.json, tokenizer.model\n"
    )


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_model_folder_with_a_damaged_file(
    asr: Command, model: Path, tmp_path: Path, verb: str, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    assert f"{folder / name}: not a " in use_model(asr, verb, folder, tmp_path).error


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
def test_a_model_that_is_no_folder(asr: Command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        error = use_model(asr, verb, tmp_path / name, tmp_path).error
        assert f"{tmp_path / name}: no such model folder; it must hold" in error


def use_model(asr: Command, verb: str, folder: Path, tmp_path: Path) -> Outcome:
    audio = write_noise(tmp_path / "a.wav", 1.0)
    if verb == "transcribe":
        return asr(verb, audio, "--model", folder)
    data = manifest(tmp_path / "test.jsonl.gz", audio)
    return asr(verb, "--model", folder, "--data", data)


# --- recipes and keys ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("encoder.num_layer=4", "unknown key encoder.num_layer; did you mean encoder.num_layers?"),
        ("reuse=prob", "no reuse config is called 'prob'; did you mean probs?"),
        ("max_steps=4", "did you mean train.trainer.max_steps?"),
        ("encoder.positions=rotery", "encoder.positions"),
        ("encoder.num_heads=3", "num_heads"),
        ("encoder.d_model=wide", "encoder.d_model"),
        ("encoder.num_layers=2.5", "encoder.num_layers"),
        ("metrics.latency.lengths_s=5", "metrics.latency.lengths_s"),
        ("metrics.latency.lengths_s=[.nan]", "metrics.latency.lengths_s"),
        ("metrics.latency.repeats=0", "metrics.latency.repeats=0: allowed: a whole number from 1"),
    ],
)
def test_a_key_or_value_that_is_not_there(
    asr: Command, recipe: Path, verb: str, override: str, said: str
) -> None:
    before = files_in(recipe.parent)
    assert said in asr(verb, recipe, override).error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["reuse.group_size=null", "reuse.groups=[2,3]"], "add up to 5 layers"),
        (["reuse.group_size=3"], "does not divide encoder.num_layers=4; allowed: 1, 2, 4"),
        (["reuse.groups=[4]"], "give exactly one of groups, group_size, pattern, leaders"),
        (["reuse.group_size=null", "reuse.pattern=LFX"], "allowed letters are A"),
        (["reuse.group_size=null", "reuse.leaders=[0,0]"], "names 2 layers"),
    ],
)
def test_groups_that_do_not_fit_the_layers(
    asr: Command, recipe: Path, verb: str, overrides: list[str], said: str
) -> None:
    before = files_in(recipe.parent)
    error = asr(verb, recipe, "reuse=probs", "encoder.num_layers=4", *overrides).error
    assert "reuse" in error
    assert said in error
    assert files_in(recipe.parent) == before


def test_one_bad_variant_stops_a_comparison_before_the_others_train(
    asr: Command, recipe: Path
) -> None:
    before = files_in(recipe.parent)
    error = asr("compare", recipe, "reuse=probs", "reuse.group_size=1,3").error
    assert "reuse.group_size=3 does not divide encoder.num_layers=2" in error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.batching.max_duration_s=0.1", "data.batching leaves out all 4 utterances"),
        ("data.loader.num_workers=-1", "data.loader.num_workers=-1: allowed: a whole number"),
        ("text.tokenizer.vocab_size=3", "text.tokenizer.vocab_size: 3 is too small"),
        ("text.tokenizer.kind=words", "text.tokenizer.kind"),
        ("text.tokenizer.model=nowhere", "nowhere: cannot be read"),
    ],
)
def test_settings_that_do_not_suit_the_data(
    asr: Command, recipe: Path, override: str, said: str
) -> None:
    before = files_in(recipe.parent)
    assert said in asr("train", recipe, override, "--run-dir", "run").error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize("verb", ["train", "compare"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("splits.folder=nowhere", "no manifest nowhere/train.jsonl.gz; `asr prepare` writes it"),
        ("splits.test=[test,more]", "more.jsonl.gz"),
        ("splits.test=more", "more.jsonl.gz"),
        ("splits.tests=[test]", "unknown key splits.tests; did you mean splits.test?"),
        ("splits=null", "no splits; a recipe to train sets or picks"),
        ("splits.train=null", "splits.train"),
        ("train.optim=null", "no train.optim"),
        ("seed=null", "no seed"),
        ("seed=often", "seed='often': allowed: a whole number"),
        ("seed=-1", "seed=-1"),
        ("train.trainer.precision=fp8", "train.trainer.precision"),
        ("train.averaging.kind=often", "train.averaging.kind"),
        ("train.optim.decay=fast", "train.optim.decay"),
        ("train.optim.peak_lr=fast", "train.optim.peak_lr"),
        ("train.trainer.max_steps=ten", "train.trainer.max_steps"),
        ("train.trainer.max_steps=0", "train.trainer.max_steps"),
        ("train.trainer.accelerator=quantum", "train.trainer.accelerator"),
        ("text.tokenizer.vocab_size=many", "text.tokenizer.vocab_size"),
        (
            "data.batching.max_duration_s=0",
            "max_duration_s=0: allowed: a number above 0",
        ),
        ("text.normalize.case=title", "text.normalize.case"),
        ("head.intermediate_layers=[5]", "head.intermediate_layers=[5]"),
        ("init=nowhere", "nowhere: no such model folder"),
    ],
)
def test_settings_that_cannot_be_trained(
    asr: Command, recipe: Path, verb: str, override: str, said: str
) -> None:
    before = files_in(recipe.parent)
    words = ("--run-dir", "run") if verb == "train" else ()
    assert said in asr(verb, recipe, override, *words).error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
def test_a_recipe_that_is_none(asr: Command, tmp_path: Path, verb: str) -> None:
    assert "no recipe quick.yaml" in asr(verb, "quick.yaml").error
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    assert "list.yaml is not a recipe" in asr(verb, "list.yaml").error


def test_a_recipe_for_timing_cannot_be_trained(asr: Command) -> None:
    bench = Path(__file__).parents[2] / "recipes" / "bench.yaml"
    for verb in ("train", "compare"):
        assert "bench.yaml: no text.normalize; a recipe to train" in asr(verb, bench).error


def test_a_recipe_without_lengths_cannot_be_timed(asr: Command, recipe: Path) -> None:
    assert "no metrics.latency" in asr("bench", recipe, "metrics.latency=null").error


# --- manifests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no manifest at"),
        (b"", "is empty"),
        (b"RIFF\x00\xff\xfe", "line 1, byte 6: not UTF-8 text"),
        (b"\x1f\x8bdamaged", "is not a manifest"),
        (b"hello\n", "line 1: not a lhotse cut"),
        (b'{"audio": "a.wav", "text": "a"}\n', "line 1: not a lhotse cut"),
    ],
)
def test_a_manifest_that_is_none(
    asr: Command, model: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "test.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    error = asr("evaluate", "--model", model, "--data", path).error
    assert str(path) in error
    assert said in error


def test_a_folder_for_a_manifest(asr: Command, model: Path, corpus: Path) -> None:
    error = asr("evaluate", "--model", model, "--data", corpus).error
    assert f"{corpus} is a folder; name one manifest in it" in error


def test_two_manifests_of_one_name(asr: Command, model: Path, tmp_path: Path) -> None:
    """The second would take the place of the first without a word."""
    audio = write_noise(tmp_path / "a.wav", 1.0)
    paths = [manifest(tmp_path / name / "test.jsonl.gz", audio) for name in ("x", "y")]
    error = asr("evaluate", "--model", model, "--data", *paths).error
    assert f"{paths[0]} and {paths[1]} are both called test" in error


def test_training_on_a_manifest_that_is_none(asr: Command, recipe: Path, corpus: Path) -> None:
    shutil.copytree(corpus, "data")
    Path("data/train.jsonl.gz").write_text("hello\n")
    error = asr("train", recipe, "splits.folder=data", "--run-dir", "run").error
    assert "train.jsonl.gz, line 1: not a lhotse cut" in error
    assert not Path("run").exists()


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
def test_cuda_graphs_on_the_cpu(asr: Command, model: Path, tmp_path: Path, verb: str) -> None:
    words: dict[str, list[str | Path]] = {
        "transcribe": [tmp_path / "a.wav"],
        "evaluate": ["--data", tmp_path / "a.jsonl.gz"],
    }
    error = asr(verb, *words[verb], "--model", model, "--cuda-graphs").error
    assert "--cuda-graphs: CUDA graphs need a CUDA device, not cpu" in error


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
def test_what_cannot_be_timed_in_8_bits_is_refused_before_the_work(
    asr: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr("asr.nn.int8.runs_int8", lambda: False)
    before = files_in(recipe.parent)
    error = asr(verb, recipe, "metrics.latency.dtype=int8").error
    assert "metrics.latency.dtype=int8: this build of PyTorch has no products in 8 bits" in error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize("verb", ["train", "compare", "bench"])
def test_cuda_graphs_to_be_timed_on_the_cpu(
    asr: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = files_in(recipe.parent)
    error = asr(verb, recipe, "metrics.latency.cuda_graphs=true").error
    assert "metrics.latency.cuda_graphs=true: CUDA graphs need a CUDA device, not cpu" in error
    assert files_in(recipe.parent) == before


@pytest.mark.parametrize("device", ["bananas", "cuda", "cuda:9", ""])
@pytest.mark.parametrize("verb", ["transcribe", "evaluate", "bench"])
def test_a_device_that_is_not_there(
    asr: Command, model: Path, recipe: Path, tmp_path: Path, verb: str, device: str
) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    audio = write_noise(tmp_path / "a.wav", 0.5)
    data = manifest(tmp_path / "test.jsonl.gz", audio)
    words: dict[str, list[str | Path]] = {
        "transcribe": [audio, "--model", model],
        "evaluate": ["--model", model, "--data", data],
        "bench": [recipe],
    }
    error = asr(verb, *words[verb], "--device", device).error
    assert f"--device {device}: not available on this machine; allowed: cpu" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("transcribe a.wav --model m --chunk 0", "--chunk: '0'"),
        ("transcribe a.wav --model m --chunk inf", "--chunk: 'inf'"),
        ("transcribe a.wav --model m --overlap -1", "--overlap: '-1'"),
        ("transcribe a.wav --model m --format doc", "--format: invalid choice: 'doc'"),
        ("transcribe --model m", "no recording named; give files, folders or --list FILE"),
        ("transcribe a.wav", "the following arguments are required: --model"),
        ("evaluate --model m --data d --lengths -5", "--lengths: '-5'"),
        ("evaluate --model m --data d --lengths 5 nan", "--lengths: 'nan'"),
        ("evaluate --model m --data d --lengths five", "--lengths: 'five'"),
        (
            "evaluate --model m --data d --repeats 0",
            "--repeats: '0': allowed: a whole number from 1",
        ),
        ("evaluate --model m", "the following arguments are required: --data"),
        ("compare r.yaml --jobs 0", "--jobs: '0': allowed: a whole number from 1"),
        ("compare r.yaml --jobs -2", "--jobs: '-2'"),
        ("prepare folder x --jobs 0", "--jobs: '0'"),
        ("prepare synthetic --jobs 0", "--jobs: '0'"),
        ("prepare synthetic --num-train 0 --out s", "--num-train: '0': allowed: a whole"),
        ("prepare folder nowhere", "nowhere is missing; give a folder"),
        ("prepare", "CORPUS"),
        ("train r.yaml --resum", "did you mean --resume?"),
    ],
)
def test_an_option_out_of_range(asr: Command, tmp_path: Path, words: str, said: str) -> None:
    assert said in asr(*words.split()).error
    assert list(tmp_path.iterdir()) == []


def test_an_overlap_as_long_as_the_chunk(asr: Command, model: Path, tmp_path: Path) -> None:
    audio = write_noise(tmp_path / "a.wav", 0.5)
    error = asr("transcribe", audio, "--model", model, "--chunk", "3").error
    assert "overlap of 4 s; allowed: 0 to below the chunk, 3 s" in error


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        *itertools.product(["evaluate", "train", "compare", "bench"], ["--out", "--json"]),
        ("prepare", "--out"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    asr: Command, model: Path, recipe: Path, corpus: Path, verb: str, option: str
) -> None:
    Path("file").touch()
    before = files_in(recipe.parent)
    words: dict[str, list[str | Path]] = {
        "evaluate": ["--model", model, "--data", corpus / "test.jsonl.gz", "--allow-unknown"],
        "train": [recipe, "--run-dir", "run"],
        "compare": [recipe],
        "bench": [recipe],
        "prepare": ["folder", corpus],
    }
    for place in ("file/below", "file" if option == "--out" else "."):
        error = asr(verb, *words[verb], option, place).error
        assert place.partition("/")[0] in error
        assert re.search(r"cannot be a folder|is a folder|is a file", error)
    assert files_in(recipe.parent) == before


def test_a_run_folder_that_is_a_file(asr: Command, recipe: Path) -> None:
    Path("file").touch()
    assert "file cannot be a folder" in asr("train", recipe, "--run-dir", "file").error


def test_json_in_a_new_folder(asr: Command, recipe: Path) -> None:
    assert asr("bench", recipe, "--json", "new/folder/rows.json").code == 0
    assert Path("new/folder/rows.json").is_file()


def test_variants_that_are_the_same_run(asr: Command, recipe: Path) -> None:
    error = asr("compare", recipe, "metrics.latency.repeats=1,2").error
    assert "repeats1 and repeats2 are the same run" in error


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "none.wav", "--model", "nowhere"],
        ["train", "none.yaml"],
        ["evaluate", "--model", "nowhere", "--data", "none.jsonl.gz"],
    ],
)
def test_a_shell_sees_one_line_and_exit_code_2(tmp_path: Path, words: list[str]) -> None:
    assert asr_process(words, tmp_path).error
    assert list(tmp_path.iterdir()) == []
