from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from asr.data.augment import NoiseMix, Reverb
from asr.data.batching import Batching
from asr.data.dataset import Augment, SpeechDataset
from asr.data.loader import ResumableLoader
from asr.data.manifest import CheckedUtterance, Utterances, read_manifest, write_manifest
from asr.data.shards.read import read_shards
from asr.data.shards.write import write_shards
from asr.errors import InputError, RunError
from asr.text.tokenizer import Tokenizer
from asr.types import Batch
from tests.data.corpora.server import Site, serve

DURATIONS_S = [0.1 + 0.01 * index for index in range(40)]


@pytest.fixture
def utterances(make_manifest: Callable[..., Path]) -> Utterances:
    return read_manifest(make_manifest(DURATIONS_S))


@pytest.fixture
def make_loader(utterances: Utterances, tokenizer: Tokenizer) -> Callable[..., ResumableLoader]:
    def make(
        some: Utterances = utterances,
        *,
        training: bool = True,
        num_workers: int = 0,
        max_unreadable: float = 0.1,
        augment: Sequence[Augment] = (),
        seed: int = 0,
        shared: bool = False,
    ) -> ResumableLoader:
        dataset = SpeechDataset(
            tokenizer=tokenizer,
            normalizer=str,
            sample_rate_hz=16_000,
            augment=augment,
            seed=seed,
        )
        return ResumableLoader(
            some,
            dataset=dataset,
            batching=Batching(max_duration_s=1.5, num_buckets=5, sort_first_epoch=True),
            training=training,
            shared=shared,
            num_workers=num_workers,
            max_unreadable=max_unreadable,
        )

    return make


def names(batches: Iterable[Batch]) -> list[tuple[str, ...]]:
    return [batch.utterance_ids for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_is_every_utterance_once(
    make_loader: Callable[..., ResumableLoader], num_workers: int
) -> None:
    loader = make_loader(num_workers=num_workers)
    epochs = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        num_batches = len(loader)
        epochs.append(names(loader))
        assert len(epochs[-1]) == num_batches
    everyone = [f"u{index:04d}" for index in range(len(DURATIONS_S))]
    assert all(sorted(sum(epoch, ())) == everyone for epoch in epochs)
    assert sum(epochs[0], ()) == tuple(everyone), "the first epoch is sorted by duration"
    assert epochs[1] != epochs[2]


def test_workers_change_nothing(make_loader: Callable[..., ResumableLoader]) -> None:
    alone, helped = make_loader(), make_loader(num_workers=2)
    for loader in (alone, helped):
        loader.set_epoch(1)
    for first, second in zip(alone, helped, strict=True):
        assert first.utterance_ids == second.utterance_ids
        assert torch.equal(first.waveforms_BN, second.waveforms_BN)
        assert torch.equal(first.token_ids_BU, second.token_ids_BU)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("epoch", "num_seen"), [(0, 3), (2, 5), (1, 0)])
def test_resuming_gives_the_rest(
    make_loader: Callable[..., ResumableLoader], num_workers: int, epoch: int, num_seen: int
) -> None:
    whole = make_loader()
    whole.set_epoch(epoch)
    expected = names(whole)
    interrupted = make_loader(num_workers=num_workers)
    interrupted.set_epoch(epoch)
    seen = names(islice(interrupted, num_seen))
    state = json.loads(json.dumps(interrupted.state_dict()))
    assert (state["epoch"], state["batch"]) == (epoch, num_seen)
    resumed = make_loader(num_workers=num_workers)
    resumed.load_state_dict(state)
    assert len(resumed) == len(expected)
    assert seen + names(resumed) == expected
    assert resumed.state_dict() == {**state, "epoch": epoch + 1, "batch": 0}


def test_resuming_reads_no_audio_that_was_seen(
    make_loader: Callable[..., ResumableLoader], utterances: Utterances
) -> None:
    for utterance in list(utterances)[:20]:  # the shortest: the sorted epoch begins with them
        utterance.audio_path.unlink()
    loader = make_loader()
    num_seen = next(
        index for index in range(len(loader)) if sum(map(len, loader._batches()[:index])) >= 20
    )
    loader.load_state_dict({"epoch": 0, "batch": num_seen})
    assert len(names(loader)) == len(loader._batching.train_batches(list(utterances), 0)) - num_seen
    assert not loader.unreadable


def test_a_loader_goes_on_where_it_stands(make_loader: Callable[..., ResumableLoader]) -> None:
    loader, whole = make_loader(), make_loader()
    assert names(islice(loader, 4)) + names(loader) == names(whole)
    assert names(loader) == names(whole), "the second epoch follows the first"


def test_loading_draws_nothing_from_the_global_generator(
    make_loader: Callable[..., ResumableLoader],
) -> None:
    before = torch.get_rng_state()
    names(make_loader())
    names(make_loader(num_workers=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_is_whole_and_the_same_every_time(
    make_loader: Callable[..., ResumableLoader],
) -> None:
    loader = make_loader(training=False)
    names(islice(loader, 2))
    first = names(loader)
    assert first == names(loader)
    assert len(sum(first, ())) == len(DURATIONS_S)
    assert len(loader) == len(first)


def test_evaluation_in_shares_is_the_whole(
    make_loader: Callable[..., ResumableLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = names(make_loader(training=False))
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        shares.append(names(make_loader(training=False, shared=True)))
        assert names(make_loader(training=False)) == whole, "scoring is the work of one process"
    assert sorted(chain.from_iterable(shares)) == sorted(whole)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_limit_of_processes_that_share_is_asked_of_all_they_know(
    make_loader: Callable[..., ResumableLoader],
    utterances: Utterances,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for utterance in list(utterances)[::8]:
        utterance.audio_path.unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    loader = make_loader()
    names(loader)
    own = list(loader.unreadable)
    assert len(own) < 5
    loader.check_unreadable(own)
    with pytest.raises(RunError, match=r"5 of 40 utterances cannot be read.*is gone"):
        loader.check_unreadable(["a", "b", "c", "d", "e", *own][-5:])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_audio_is_counted_in_this_process(
    make_loader: Callable[..., ResumableLoader],
    utterances: Utterances,
    caplog: pytest.LogCaptureFixture,
    num_workers: int,
) -> None:
    (lost,) = (utterance for utterance in utterances if utterance.utterance_id == "u0007")
    lost.audio_path.write_text("not audio")
    loader = make_loader(num_workers=num_workers)
    with caplog.at_level(logging.WARNING):
        for epoch in range(2):
            loader.set_epoch(epoch)
            assert len(sum(names(loader), ())) == len(DURATIONS_S) - 1
    assert list(loader.unreadable) == ["u0007"]
    assert len([message for message in caplog.messages if "u0007" in message]) == 1


def test_a_batch_nobody_can_read_is_passed_over(
    make_loader: Callable[..., ResumableLoader], utterances: Utterances
) -> None:
    for utterance in utterances:
        utterance.audio_path.unlink()
    loader = make_loader(max_unreadable=1.0)
    assert names(loader) == []
    assert len(loader.unreadable) == len(DURATIONS_S)


def test_a_negative_number_of_workers_is_named(
    make_loader: Callable[..., ResumableLoader],
) -> None:
    with pytest.raises(InputError, match=r"data\.loader\.num_workers=-1"):
        make_loader(num_workers=-1)


def test_a_loader_does_not_go_on_in_other_data(
    make_loader: Callable[..., ResumableLoader], utterances: Utterances
) -> None:
    state = make_loader().state_dict()
    make_loader().load_state_dict(state)
    other = make_loader(utterances[1:])
    with pytest.raises(InputError, match="utterances are not those the run was begun with"):
        other.load_state_dict(state)


def test_a_loader_goes_on_as_far_into_the_epoch_with_other_devices(
    make_loader: Callable[..., ResumableLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = make_loader()
    names(islice(loader, 6))
    state = loader.state_dict()
    monkeypatch.setattr("asr.data.loader.num_processes", lambda: 2)
    loader.load_state_dict(state)
    assert loader.state_dict() == {**state, "batch": 3, "share_s": 3.0}
    loader._batching.max_duration_s = 0.5
    loader.load_state_dict(state)
    assert loader.state_dict() == {**state, "batch": 9, "share_s": 1.0}


@pytest.mark.parametrize("training", [True, False])
def test_too_many_unreadable_utterances_end_it(
    make_loader: Callable[..., ResumableLoader], utterances: Utterances, training: bool
) -> None:
    for utterance in list(utterances)[::8]:
        utterance.audio_path.unlink()
    with pytest.raises(RunError, match=r"5 of 40 .*max_unreadable=0\.1; last u00.*is gone"):
        names(make_loader(training=training))
    assert len(sum(names(make_loader(training=training, max_unreadable=0.125)), ())) == 35
    with pytest.raises(InputError, match=r"max_unreadable=1\.5: allowed: a number from 0 to 1"):
        make_loader(max_unreadable=1.5)


def test_no_epoch_has_a_larger_batch_than_the_largest(
    make_loader: Callable[..., ResumableLoader],
) -> None:
    loader = make_loader()
    largest = list(loader.largest_batches())
    sizes = [(len(batch), batch.waveforms_BN.shape[1] / 16_000) for batch in largest]
    assert sizes[0][1] == max(DURATIONS_S), "attention is most demanding where it is longest"
    assert len(sizes) == 5
    for epoch in range(1, 6):
        loader.set_epoch(epoch)
        assert len(loader.sizes()) == len(loader)
        for number, longest_s in loader.sizes():
            most = min((bound_s, most) for most, bound_s in sizes if bound_s >= longest_s - 1e-6)
            assert number <= most[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_on_a_server_are_as_good_as_files(
    make_loader: Callable[..., ResumableLoader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    write_shards(
        tmp_path / "train.jsonl.gz", tmp_path / "shards", shard_size=7, report=lambda _: None
    )
    files = {f"/{file.name}": file.read_bytes() for file in (tmp_path / "shards").iterdir()}
    with serve(Site(files=files)) as site:
        remote = make_loader(read_shards(site.url), num_workers=num_workers, max_unreadable=1.0)
        local = make_loader()
        for loader in (remote, local):
            loader.set_epoch(1)
        for ours, theirs in zip(remote, local, strict=True):
            assert ours.utterance_ids == theirs.utterance_ids
            assert torch.equal(ours.waveforms_BN, theirs.waveforms_BN)
        site.files = {name: data[:900] for name, data in files.items()}
        assert names(remote) == []
    assert len(remote.unreadable) == len(DURATIONS_S)


def louder(
    samples: NDArray[np.float32], sample_rate_hz: int, generator: random.Random
) -> NDArray[np.float32]:
    assert sample_rate_hz == 16_000
    return samples * np.float32(generator.uniform(0.1, 1.0))


def test_what_augmentation_draws_follows_from_epoch_and_utterance(
    make_loader: Callable[..., ResumableLoader],
) -> None:
    def heard(loader: ResumableLoader) -> dict[str, float]:
        return {
            name: float(row.abs().max())
            for batch in loader
            for name, row in zip(batch.utterance_ids, batch.waveforms_BN, strict=True)
        }

    plain = heard(make_loader())
    whole = make_loader(augment=[louder])
    first, second = heard(whole), heard(whole)
    assert all(first[name] < plain[name] for name in plain)
    assert not set(first.values()) & set(second.values())
    resumed = make_loader(augment=[louder], num_workers=2)
    resumed.load_state_dict({"epoch": 1, "batch": 2})
    rest = heard(resumed)
    assert 0 < len(rest) < len(second)
    assert all(rest[name] == second[name] for name in rest)
    assert heard(make_loader(augment=[louder], training=False)) == plain
    assert heard(make_loader(augment=[louder], seed=1)) != first


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_damaged_sound_is_named_once_and_speech_goes_on(
    make_loader: Callable[..., ResumableLoader],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    num_workers: int,
) -> None:
    sounds = []
    for name in ("whole", "damaged", "gone"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.full(16_000, 0.1), 16_000)
        sounds.append(CheckedUtterance(name, path, 0.0, 1.0, 16_000, 1, "", None))
    write_manifest(sounds, tmp_path / "noise.jsonl.gz")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    (tmp_path / "gone.wav").unlink()
    folder, parts = str(tmp_path), ["noise"]
    augment = [
        Reverb(folder=folder, parts=parts, probability=0.5),
        NoiseMix(folder=folder, parts=parts, low_snr_db=5, high_snr_db=9, probability=1.0),
    ]
    loader = make_loader(augment=augment, num_workers=num_workers)
    with caplog.at_level(logging.WARNING):
        assert len(sum(names(loader), ())) == len(sum(names(loader), ())) == len(DURATIONS_S)
    assert not loader.unreadable
    assert len(loader.bad_sounds) == 2
    for name in ("damaged.wav", "gone.wav"):
        assert sum(name in message for message in caplog.messages) == 1
