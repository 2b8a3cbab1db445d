from dataclasses import replace

from asr.profiling.roofline import Work
from tests.report.html.pages import charts, of_class, parsed
from tests.report.records import none_record, probs_record


def test_a_chart_for_each_run_and_length() -> None:
    root = parsed([none_record(), probs_record()])
    found = charts(root, "roofline")
    assert len(found) == 4
    captions = [one.text for one in root.iter("figcaption") if "ceiling" in (one.text or "")]
    assert captions[0] == "none, 15 s: 75% of the ceiling"
    for chart in found:  # softmax, without multiply-adds, has no place
        assert [one.text for one in of_class(chart, "name")] == ["subsampling, 50%"]
        assert len(of_class(chart, "point")) == 1


def test_marks_lie_below_the_roof() -> None:
    work = {"15": {"subsampling": Work(macs=200_000_000, num_bytes=20_000_000)}}
    (chart,) = charts(parsed([none_record(work=work)]), "roofline")
    (roof,) = of_class(chart, "curve")
    corners = [float(xy.split()[1]) for xy in (roof.get("d") or "").removeprefix("M").split("L")]
    (mark,) = of_class(chart, "point")
    height = float((mark.get("transform") or "").removesuffix(")").split()[1])
    assert height > corners[0] > corners[1] == corners[2]  # pixels grow downwards


def test_no_chart_without_ceilings() -> None:
    bare = tuple(replace(point, roofline=None) for point in none_record().latency)
    assert charts(parsed([none_record(latency=bare)]), "roofline") == []
