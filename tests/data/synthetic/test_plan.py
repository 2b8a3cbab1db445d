from __future__ import annotations

from asr.data.synthetic.plan import SEEN_VARIANTS, SHARD_SIZE, UNSEEN_VARIANTS, Shard, make_plan

COUNTS = {"train": 1200, "dev": 200, "test": 200, "test-accents": 200}


def by_split(plan: list[Shard]) -> dict[str, list[Shard]]:
    return {split: [shard for shard in plan if shard.split == split] for split in COUNTS}


def test_sentences_of_held_out_splits_are_nowhere_else() -> None:
    texts = {
        split: [utterance.text for shard in shards for utterance in shard.utterances]
        for split, shards in by_split(make_plan(COUNTS, 1)).items()
    }
    assert {split: len(rows) for split, rows in texts.items()} == COUNTS
    held_out = texts["dev"] + texts["test"] + texts["test-accents"]
    assert len(set(held_out)) == len(held_out)
    assert not set(held_out) & set(texts["train"])


def test_voices_of_test_are_not_heard_in_training() -> None:
    voices = {
        split: {utterance.voice.name for shard in shards for utterance in shard.utterances}
        for split, shards in by_split(make_plan(COUNTS, 1)).items()
    }
    assert not voices["train"] & voices["test"]
    assert not voices["train"] & voices["test-accents"]
    variants = {split: {name.split("+")[1] for name in names} for split, names in voices.items()}
    accents = {split: {name.split("+")[0] for name in names} for split, names in voices.items()}
    assert not variants["train"] & variants["test"]
    assert accents["test"] == accents["train"]
    assert not accents["test-accents"] & accents["train"]
    assert not set(SEEN_VARIANTS) & set(UNSEEN_VARIANTS)


def test_the_seed_decides() -> None:
    assert make_plan(COUNTS, 1) == make_plan(COUNTS, 1)
    assert make_plan(COUNTS, 1) != make_plan(COUNTS, 2)


def test_shards_are_of_one_split_and_bounded() -> None:
    plan = make_plan(COUNTS, 1)
    assert all(1 <= len(shard.utterances) <= SHARD_SIZE for shard in plan)
    names = [utterance.utterance_id for shard in plan for utterance in shard.utterances]
    assert len(set(names)) == len(names)
    assert all(
        utterance.utterance_id.startswith(f"{shard.split}-")
        for shard in plan
        for utterance in shard.utterances
    )


def test_training_has_short_phrases() -> None:
    texts = [utterance.text for shard in make_plan(COUNTS, 1) for utterance in shard.utterances]
    train = texts[: COUNTS["train"]]
    short = sum(len(text.split()) <= 4 for text in train) / len(train)
    assert 0.15 < short < 0.3
    assert all(len(text.split()) >= 5 for text in texts[COUNTS["train"] :])


def test_own_sentences_are_dealt_evenly_to_disjoint_voices() -> None:
    plan = by_split(make_plan(COUNTS, 1, ["yes", "no", "maybe so"]))
    for split, shards in plan.items():
        texts = [utterance.text for shard in shards for utterance in shard.utterances]
        counts = {text: texts.count(text) for text in ("yes", "no", "maybe so")}
        assert sum(counts.values()) == COUNTS[split]
        assert max(counts.values()) - min(counts.values()) <= 1
        assert texts[:3] != ["yes", "no", "maybe so"] or texts[3:6] != ["yes", "no", "maybe so"]
    voices = {
        split: {utterance.voice.name for shard in shards for utterance in shard.utterances}
        for split, shards in plan.items()
    }
    assert not voices["train"] & voices["test"]
