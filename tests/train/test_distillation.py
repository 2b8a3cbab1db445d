from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from asr.errors import InputError
from asr.head.ctc import CtcHead
from asr.model.asr_model import AsrModel
from asr.model.build import build
from asr.model.package import load_package, save_package
from asr.text.tokenizer import Tokenizer
from asr.train.averaging import AveragingSpec
from asr.train.checkpoint import read_checkpoint
from asr.train.distillation import Distillation, Distiller, frame_divergence
from asr.train.fit import FitResult, FitSettings, fit
from asr.train.optim import AdamWSpec
from asr.train.trainer import TrainerSpec
from asr.types import Batch
from tests.decode.package import save_tiny_package
from tests.model.configs import CONFIG, SAMPLE_RATE_HZ, changed, tiny_model
from tests.train.standin import TinyLoader, decode_greedily, logged

FULL = changed("reuse", {"_target_": "asr.reuse.none.NoReuse"})
VOCAB_SIZE = 6


class Words:
    """Ids to words."""

    def decode(self, token_ids: object, /) -> str:
        return str(token_ids)


def noise_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    waveforms_BN = 0.1 * torch.randn(3, 4000, generator=generator)
    lengths_B = torch.tensor([4000, 3300, 2600])
    for row, length in enumerate(lengths_B.tolist()):
        waveforms_BN[row, length:] = 0.0
    return Batch(
        utterance_ids=tuple(f"u{seed}-{row}" for row in range(3)),
        texts=("a", "b", "c"),
        waveforms_BN=waveforms_BN,
        waveform_lengths_B=lengths_B,
        token_ids_BU=torch.randint(1, VOCAB_SIZE, (3, 2), generator=generator),
        token_lengths_B=torch.tensor([2, 2, 1]),
    )


def model_of(config: dict[str, Any], *, is_plain: bool = False) -> AsrModel:
    """Without the dropout and the masks of the config where ``is_plain``."""
    config = copy.deepcopy(config)
    if is_plain:
        config["encoder"]["dropout"] = config["head"]["dropout"] = 0.0
        del config["features"]["specaugment"]
    return tiny_model(config, vocab_size=VOCAB_SIZE)


def run(
    folder: Path,
    model: AsrModel,
    distiller: Distiller | None,
    *,
    resume: bool = False,
    max_steps: int = 6,
    seed: int = 1,
    peak_lr: float = 0.003,
    loader: TinyLoader | None = None,
) -> FitResult:
    settings = FitSettings(
        tokenizer=Words(),
        train_loader=loader or TinyLoader(4, make=noise_batch),
        dev_loader=None,
        optim=AdamWSpec(peak_lr=peak_lr, warmup_steps=1, decay="constant"),
        trainer=TrainerSpec(
            max_steps=max_steps, accelerator="cpu", log_every_steps=1, print_every_s=1000.0
        ),
        averaging=AveragingSpec(kind="none"),
        seed=seed,
        decoder=decode_greedily,
        distiller=distiller,
    )
    return fit(model, settings, run_dir=folder, resume=resume)


def loop_divergence(teacher: Tensor, student: Tensor, lengths: list[int], t: float) -> float:
    """Frame by frame and token by token."""
    total, num_frames = 0.0, 0
    for row, length in enumerate(lengths):
        for frame in range(length):
            p = torch.softmax(teacher[row, frame].detach().double() / t, 0)
            q = torch.softmax(student[row, frame].detach().double() / t, 0)
            total += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))
            num_frames += 1
    return total / num_frames


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("lengths", [[5, 3], [5, 5]])
def test_the_divergence_as_a_loop(temperature: float, lengths: list[int]) -> None:
    logits = torch.randn(2, 2, 5, 4) * 3
    teacher, student = logits.log_softmax(-1)
    found = frame_divergence(teacher, student, torch.tensor(lengths), temperature=temperature)
    expected = loop_divergence(teacher, student, lengths, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    same = frame_divergence(student, student, torch.tensor(lengths), temperature=temperature)
    assert float(same) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_a_plain_sum(temperature: float) -> None:
    student, teacher = model_of(CONFIG, is_plain=True), model_of(FULL, is_plain=True)
    batch = noise_batch(0)
    given = (batch.waveforms_BN, batch.waveform_lengths_B)
    student_BTV, lengths_B = student(*given)
    teacher_BTV, _ = teacher(*given)
    divergence = loop_divergence(teacher_BTV, student_BTV, lengths_B.tolist(), temperature)
    ctc = student.loss(batch).loss.item()
    found = Distiller(teacher, weight=0.3, temperature=temperature).loss(student, batch)
    assert found.loss.item() == pytest.approx(0.7 * ctc + 0.3 * temperature**2 * divergence)
    assert found.num_left_out == 0


def test_teacher_and_student_see_the_same_masked_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = model_of(CONFIG).train(), model_of(FULL).train()
    distiller = Distiller(teacher, weight=0.5, temperature=1.0)
    seen: list[Tensor] = []
    for model in (student, teacher):
        model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    monkeypatch.setattr(teacher.frontend, "forward", lambda *_: pytest.fail("not its own features"))
    distiller.loss(student, noise_batch(0))
    assert torch.equal(*seen)
    student.eval()
    assert not torch.equal(
        student.frontend(noise_batch(0).waveforms_BN, noise_batch(0).waveform_lengths_B)[0],
        seen[0],
    )


def test_a_teacher_takes_no_gradient_and_stays_unchanged(tmp_path: Path) -> None:
    student, teacher = model_of(CONFIG), model_of(FULL)
    before = {name: one.clone() for name, one in teacher.state_dict().items()}
    run(tmp_path, student, Distiller(teacher, weight=0.5, temperature=1.0))
    assert not teacher.training
    assert all(one.grad is None and not one.requires_grad for one in teacher.parameters())
    assert all(torch.equal(one, before[name]) for name, one in teacher.state_dict().items())
    saved = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert set(saved["state_dict"]) == {f"model.{name}" for name in student.state_dict()}
    stored = sum(len(group["params"]) for group in saved["optimizer_states"][0]["param_groups"])
    assert stored == len(list(student.parameters()))


def test_a_teacher_that_counts_for_nothing_changes_nothing(tmp_path: Path) -> None:
    plain, taught = model_of(CONFIG), model_of(CONFIG)
    nothing = Distiller(model_of(FULL), weight=0.0, temperature=1.0)
    for name, model, distiller in (("plain", plain, None), ("taught", taught, nothing)):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the teacher's share draws once more for the head
        run(tmp_path / name, model, distiller)
    assert logged(tmp_path / "plain", "train_loss") == logged(tmp_path / "taught", "train_loss")


def test_losses_after_a_resume_equal_an_uninterrupted_run(tmp_path: Path) -> None:
    def distiller() -> Distiller:
        return Distiller(model_of(FULL), weight=0.5, temperature=2.0)

    whole, resumed = model_of(CONFIG), model_of(CONFIG)
    run(tmp_path / "whole", whole, distiller())
    run(tmp_path / "cut", resumed, distiller(), max_steps=3)
    torch.rand(5)
    again = model_of(CONFIG)
    run(tmp_path / "cut", again, distiller(), resume=True, seed=9)
    assert logged(tmp_path / "cut", "train_loss") == logged(tmp_path / "whole", "train_loss")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_student_comes_to_say_what_its_teacher_says(tmp_path: Path) -> None:
    teacher = model_of(FULL, is_plain=True)
    config = copy.deepcopy(CONFIG)
    student = model_of(config, is_plain=True)
    assert isinstance(student.head, CtcHead)
    with torch.no_grad():
        student.head.project.weight.mul_(-0.5)
    distiller = Distiller(teacher, weight=1.0, temperature=1.0)
    batch = noise_batch(0)
    before = distiller.loss(student, batch).loss.item()
    loader = TinyLoader(4, make=lambda seed: noise_batch(seed % 4))
    run(tmp_path, student, distiller, max_steps=40, peak_lr=0.01, loader=loader)
    assert distiller.loss(student, batch).loss.item() < 0.5 * before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_package(tmp_path_factory.mktemp("teacher") / "model", FULL)


def test_a_teacher_from_its_folder(folder: Path) -> None:
    package = load_package(folder)
    features = {**CONFIG["features"], "speed": {"factors": [0.9]}}  # training only
    settings = {"_target_": "asr.train.distillation.Distillation", "teacher": str(folder)}
    spec: Distillation = build({**settings, "weight": 1, "temperature": 2}, "train.distillation")
    distiller = spec.load(package.model, package.tokenizer, features)
    assert distiller is not None
    assert (distiller.weight, distiller.temperature) == (1, 2)
    batch = noise_batch(0)
    with torch.no_grad():
        expected, _ = package.model(batch.waveforms_BN, batch.waveform_lengths_B)
    given = package.model.frontend(batch.waveforms_BN, batch.waveform_lengths_B)
    assert torch.equal(distiller.log_probs(*given), expected)
    nobody = Distillation(teacher=None)
    assert nobody.load(package.model, package.tokenizer, features) is None


def test_a_teacher_of_another_kind(folder: Path, tmp_path: Path) -> None:
    package = load_package(folder)
    spec = Distillation(teacher=str(folder))
    features = CONFIG["features"]
    other = Tokenizer.train(["zebra quiz"], kind="char", vocab_size=30)
    with pytest.raises(InputError, match="has another tokenizer than this run"):
        spec.load(package.model, other, features)
    fast = copy.deepcopy(FULL)
    fast["features"]["fbank"]["shift_ms"] = 20.0
    student = tiny_model(fast, vocab_size=package.tokenizer.vocab_size)
    with pytest.raises(InputError, match="a frame of it is 40 ms, one of this run 80 ms"):
        spec.load(student, package.tokenizer, fast["features"])
    low = {**features, "fbank": {**features["fbank"], "low_hz": 60.0}}
    with pytest.raises(InputError, match=r"features\.fbank\.low_hz=None, this run has 60\.0"):
        spec.load(package.model, package.tokenizer, low)
    with pytest.raises(
        InputError, match=r"features\.normalize\._target_=asr\.\S+, this run has No"
    ):
        spec.load(package.model, package.tokenizer, {"fbank": features["fbank"]})
    assert package.model.frontend.sample_rate_hz == SAMPLE_RATE_HZ
    with pytest.raises(InputError, match="no such model folder"):
        Distillation(teacher=str(tmp_path / "none")).load(package.model, other, features)


def test_bad_settings_name_their_key() -> None:
    with pytest.raises(
        InputError, match=r"train\.distillation\.weight=1\.5: allowed: a number from 0 to 1"
    ):
        Distillation(weight=1.5)
    with pytest.raises(
        InputError, match=r"train\.distillation\.temperature=0: allowed: a number above 0"
    ):
        Distillation(temperature=0)


def test_nothing_of_the_teacher_is_in_a_package(folder: Path, tmp_path: Path) -> None:
    package = load_package(folder)
    student = tiny_model(CONFIG, vocab_size=package.tokenizer.vocab_size)
    Distiller(package.model, weight=0.5, temperature=1.0).loss(student, noise_batch(0))
    save_package(
        tmp_path, model=student, tokenizer=package.tokenizer, config=CONFIG, card="# Student\n"
    )
    names = load_package(tmp_path).model.state_dict().keys()
    assert names == tiny_model(CONFIG, vocab_size=package.tokenizer.vocab_size).state_dict().keys()


@pytest.mark.gpu
def test_a_teacher_goes_where_the_student_is() -> None:
    student, teacher = model_of(CONFIG, is_plain=True), model_of(FULL, is_plain=True)
    distiller = Distiller(teacher, weight=0.5, temperature=1.0)
    expected = distiller.loss(student, noise_batch(0)).loss.item()
    found = distiller.loss(student.to("cuda"), noise_batch(0).to("cuda")).loss
    assert found.is_cuda
    assert found.item() == pytest.approx(expected, rel=1e-3)
