from pathlib import Path

from asr.report.learning import MOST_POINTS, read_learning
from asr.report.record import LearningPoint

HEADER = "step,epoch,train_loss,lr,grad_norm,dev_wer,dev_loss\n"


def test_losses_and_validations_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(HEADER + "10,1,5.5,0.1,1,,\n20,1,4.5,0.1,1,,\n20,1,,,,80.0,3\n30,2,nan,,,,\n")
    assert read_learning(path) == (
        LearningPoint(step=10, train_loss=5.5),
        LearningPoint(step=20, train_loss=4.5, dev_wer=80.0),
    )


def test_a_long_log_is_thinned_and_keeps_its_validations_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [f"{n},1,1.0,,,{50.0 if n % 999 == 0 else ''}," for n in range(1, 5001)]
    path.write_text(HEADER + "\n".join(rows))
    points = read_learning(path)
    assert len(points) <= MOST_POINTS + 6
    assert [p.step for p in points if p.dev_wer] == [999, 1998, 2997, 3996, 4995]
    assert points[-1].step == 5000


def test_no_log_and_a_damaged_one_give_no_curve(tmp_path: Path) -> None:
    assert read_learning(tmp_path / "none.csv") == ()
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"\xff\x00what,is\nthis,1e999\n")
    assert read_learning(path) == ()
