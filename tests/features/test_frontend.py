import pytest
import torch

from asr.features import shapes
from asr.features.augment import RandomSilence, SpeedPerturb, WhiteNoise
from asr.features.fbank import LogMel
from asr.features.frontend import Frontend
from asr.features.normalize import UtteranceNorm
from asr.features.specaugment import SpecAugment

WAVEFORMS_BN = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
WAVEFORMS_BN[1, 7000:] = 0
LENGTHS_B = torch.tensor([16000, 7000])


def make_frontend() -> Frontend:
    return Frontend(
        fbank=LogMel(num_mel_bins=40, shift_ms=12.5),
        normalize=UtteranceNorm(variance=True),
        specaugment=SpecAugment(
            num_freq_masks=2,
            max_freq_width=10,
            num_time_masks=2,
            max_time_width=20,
            max_time_fraction=0.5,
        ),
    )


def test_attributes_are_those_of_the_filter_bank() -> None:
    frontend = make_frontend()
    assert frontend.sample_rate_hz == 16000
    assert frontend.num_mel_bins == 40
    assert frontend.frame_shift_ms == 12.5


def test_is_the_composition_of_its_parts() -> None:
    frontend = make_frontend().eval()
    assert frontend.normalize is not None
    features_BTF, lengths_B = frontend(WAVEFORMS_BN, LENGTHS_B)
    logmel_BTF, frames_B = frontend.fbank(WAVEFORMS_BN, LENGTHS_B)
    assert torch.equal(features_BTF, frontend.normalize(logmel_BTF, frames_B))
    assert lengths_B.tolist() == frames_B.tolist() == [79, 34]
    assert features_BTF.shape == (2, 79, 40)
    assert not features_BTF[1, 34:].any()


def test_stripes_in_training_only() -> None:
    frontend = make_frontend()
    plain_BTF, _ = frontend.eval()(WAVEFORMS_BN, LENGTHS_B)
    torch.manual_seed(3)
    striped_BTF, _ = frontend.train()(WAVEFORMS_BN, LENGTHS_B)
    assert not torch.equal(striped_BTF, plain_BTF)
    kept = striped_BTF != 0
    assert torch.equal(striped_BTF[kept], plain_BTF[kept])
    assert torch.equal(frontend.eval()(WAVEFORMS_BN, LENGTHS_B)[0], plain_BTF)


def test_parts_can_be_left_out() -> None:
    fbank = LogMel()
    features_BTF, _ = Frontend(fbank=fbank)(WAVEFORMS_BN, LENGTHS_B)
    assert torch.equal(features_BTF, fbank(WAVEFORMS_BN, LENGTHS_B)[0])


def test_an_utterance_is_the_same_alone_and_padded() -> None:
    frontend = make_frontend().eval()
    features_BTF, lengths_B = frontend(WAVEFORMS_BN, LENGTHS_B)
    alone_BTF, _ = frontend(WAVEFORMS_BN[1:, :7000], LENGTHS_B[1:])
    torch.testing.assert_close(features_BTF[1, : lengths_B[1]], alone_BTF[0], atol=1e-5, rtol=1e-5)


def test_at_the_longest_every_utterance_becomes_what_it_says() -> None:
    frontend = Frontend(
        fbank=LogMel(num_mel_bins=40),
        speed=SpeedPerturb(factors=[1.1, 0.8, 1.0]),
        silence=RandomSilence(max_lead_s=0.5, max_tail_s=0.25),
    )
    assert frontend.slowest_s(1.0) == pytest.approx(1.25)
    with frontend.at_longest():
        features_BTF, lengths_B = frontend(WAVEFORMS_BN, LENGTHS_B)
    longest = [
        round(16000 * (frontend.slowest_s(samples / 16000) + 0.75)) for samples in (16000, 7000)
    ]
    assert lengths_B.tolist() == frontend.fbank.num_frames(torch.tensor(longest)).tolist()
    assert features_BTF.shape[1] == lengths_B.max()
    drawn = {frontend(WAVEFORMS_BN, LENGTHS_B)[1][0].item() for _ in range(10)}
    assert len(drawn) > 1, "lengths are drawn again afterwards"


def test_training_where_shapes_are_planned_has_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frontend = Frontend(
        fbank=LogMel(num_mel_bins=40, dither=0.0),
        normalize=UtteranceNorm(variance=True),
        speed=SpeedPerturb(factors=[0.9]),
    )
    lengths = range(8000, 40_000, 800)
    of_each = {}
    for is_planned in (False, True):
        monkeypatch.setattr(shapes, "is_planned_by_shape", lambda x, answer=is_planned: answer)
        of_each[is_planned] = [
            frontend(
                torch.sin(torch.arange(2 * num) ** 1.5).view(2, num), torch.tensor([num, 4000])
            )
            for num in lengths
        ]
    for (few_BTF, few_B), (any_BTF, any_B) in zip(of_each[True], of_each[False], strict=True):
        assert few_B.tolist() == any_B.tolist()
        num_frames = any_BTF.shape[1]
        assert not few_BTF[:, num_frames:].any()
        torch.testing.assert_close(few_BTF[:, :num_frames], any_BTF, atol=1e-3, rtol=1e-3)
    assert len({any_BTF.shape for any_BTF, _ in of_each[False]}) == len(lengths)
    assert {few_BTF.shape[1] for few_BTF, _ in of_each[True]} == {128, 192, 256, 320}
    assert frontend.eval()(WAVEFORMS_BN, LENGTHS_B)[0].shape[1] == 98


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_training_stays_in_float32_under_autocast(device: str) -> None:
    frontend = Frontend(
        fbank=LogMel(),
        speed=SpeedPerturb(factors=[0.9, 1.1]),
        noise=WhiteNoise(low_snr_db=10, high_snr_db=20),
        normalize=UtteranceNorm(variance=True),
    ).to(device)
    waveforms_BN, lengths_B = WAVEFORMS_BN.to(device), LENGTHS_B.to(device)

    torch.manual_seed(2)
    plain_BTF, _ = frontend(waveforms_BN, lengths_B)
    for waveforms_dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(2)
        with torch.autocast(device, dtype=torch.bfloat16):
            features_BTF, _ = frontend(waveforms_BN.to(waveforms_dtype), lengths_B)
        assert features_BTF.dtype == torch.float32
        assert torch.equal(features_BTF, plain_BTF) == (waveforms_dtype == torch.float32)
