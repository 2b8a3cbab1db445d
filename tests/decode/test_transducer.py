"""Label looping against a loop over frames, alone and in a batch, and chunks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.decode.recogniser import load_recogniser
from asr.decode.search import build_search
from asr.decode.transcribe import Transcriber
from asr.decode.transducer import TransducerGreedy
from asr.decode.transducer_search import Emissions
from asr.head.transducer import TransducerHead
from asr.types import Hypothesis
from tests.decode.package import save_tiny_package, write_noise
from tests.model.configs import CONFIG

D, V = 6, 9
KINDS: list[dict[str, Any]] = [
    {},
    {"predictor": "lstm", "predictor_layers": 2},
    {"durations": [0, 1, 2, 4]},
    {"predictor": "lstm", "durations": [0, 1, 3]},
]
LENGTHS = [23, 7, 1, 40]


def make(kind: dict[str, Any], blank_bias: float = 1.0) -> TransducerHead:
    torch.manual_seed(3)
    head = TransducerHead(d_model=D, vocab_size=V, predictor_width=8, joint_dim=8, **kind)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.7)
    with torch.no_grad():
        head.joint.bias[0] = blank_bias
    return head.eval()


def frames() -> Tensor:
    return torch.randn(len(LENGTHS), max(LENGTHS), D, generator=torch.Generator().manual_seed(8))


@torch.no_grad()
def frame_loop(head: TransducerHead, outputs_TJ: Tensor, max_symbols: int) -> Hypothesis:
    """One utterance, one step of the joint network after the other."""
    frame = num_at_frame = 0
    ids: list[int] = []
    at: list[int] = []
    ends: list[int] = []
    score = 0.0
    while frame < len(outputs_TJ):
        predicted_J = head.project_predictor(head.predictor(torch.tensor([ids]).long())[0, -1])
        logits_X = head.logits(outputs_TJ[frame], predicted_J)
        log_probs_V = logits_X[:V].log_softmax(-1)
        token = int(log_probs_V.argmax())
        score += float(log_probs_V[token])
        duration = int(token == 0)
        if head.durations:
            lasting_D = logits_X[V:].log_softmax(-1)
            score += float(lasting_D.max())
            duration = head.durations[int(lasting_D.argmax())]
        if token:
            ids.append(token)
            at.append(frame)
            ends.append(min(frame + max(1, duration), len(outputs_TJ)))
            num_at_frame += 1
        if not token or num_at_frame >= max_symbols:
            duration = max(1, duration)
        frame += duration
        if duration:
            num_at_frame = 0
    return Hypothesis(tuple(ids), tuple(at), tuple(ends), score)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("max_symbols", "blank_bias"), [(10, 0.0), (2, -1.0), (1, 0.0)])
def test_label_looping_finds_what_a_loop_over_frames_does(
    kind: dict[str, Any], max_symbols: int, blank_bias: float
) -> None:
    head = make(kind, blank_bias)
    outputs_BTJ = head(frames()).detach()

    found = TransducerGreedy(head=head, max_symbols=max_symbols)(outputs_BTJ, torch.tensor(LENGTHS))

    assert sum(len(one.token_ids) for one in found) > 5
    for row, (one, length) in enumerate(zip(found, LENGTHS, strict=True)):
        expected = frame_loop(head, outputs_BTJ[row, :length], max_symbols)
        assert one.token_ids == expected.token_ids
        assert one.token_frames == expected.token_frames
        assert one.token_ends == expected.token_ends
        assert one.score == pytest.approx(expected.score, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_is_read_alone_as_in_a_batch(kind: dict[str, Any]) -> None:
    head = make(kind)
    search = TransducerGreedy(head=head)
    outputs_BTJ = head(frames()).detach()

    together = search(outputs_BTJ, torch.tensor(LENGTHS))

    for row, length in enumerate(LENGTHS):
        (alone,) = search(outputs_BTJ[row : row + 1, :length], torch.tensor([length]))
        assert alone.token_ids == together[row].token_ids
        assert alone.token_frames == together[row].token_frames


def test_a_head_that_never_says_blank_is_stopped_at_every_frame() -> None:
    head = make({}, blank_bias=-1e4)

    found = TransducerGreedy(head=head, max_symbols=3)(
        head(frames()).detach(), torch.tensor([5] * 4)
    )

    for one in found:
        assert one.token_frames == tuple(frame for frame in range(5) for _ in range(3))


def test_labels_can_be_cut_and_joined_at_any_frame() -> None:
    whole = Emissions(
        scores_T=torch.arange(6.0),
        ids_U=torch.tensor([4, 2, 7, 3]),
        frames_U=torch.tensor([1, 1, 3, 5]),
        ends_U=torch.tensor([2, 2, 6, 6]),
        scores_U=torch.tensor([-0.1, -0.2, -0.3, -0.4]),
    )

    assert whole.first_ids().tolist() == [0, 4, 0, 7, 0, 3]
    for cut in range(1, 6):
        again = whole[:cut].joined([whole[cut:]])
        assert again.ids_U.tolist() == whole.ids_U.tolist()
        assert again.frames_U.tolist() == whole.frames_U.tolist()
        assert again.scores_T.tolist() == whole.scores_T.tolist()
        assert (again.ends_U <= whole.ends_U).all()
        assert (again.ends_U > again.frames_U).all()


def test_a_package_with_a_transducer_transcribes_files_with_times(tmp_path: Path) -> None:
    config = {
        **CONFIG,
        "head": {
            "_target_": "asr.head.transducer.TransducerHead",
            "predictor_width": 8,
            "joint_dim": 8,
            "durations": [0, 1, 2],
        },
        "decode": {"_target_": "asr.decode.transducer.TransducerGreedy", "max_symbols": 2},
    }
    recogniser = load_recogniser(save_tiny_package(tmp_path / "model", config))
    search = build_search(config["decode"], recogniser.model)
    short, long = write_noise(tmp_path / "a.wav", 2.0), write_noise(tmp_path / "b.wav", 9.0)

    def read(batch_s: float) -> list[Any]:
        transcriber = Transcriber(
            recogniser, search, chunk_s=4.0, overlap_s=1.0, batch_s=batch_s, silence_db=None
        )
        return transcriber.transcribe([short, long])

    together, alone = read(60.0), read(1.0)

    assert together == alone
    assert any(one.text for one in together)
    for one in together:
        times = [time for word in one.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert all(0 <= time <= one.duration_s for time in times)
