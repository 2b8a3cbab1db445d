from dataclasses import replace

from tests.report.html.pages import charts, of_class, parsed
from tests.report.records import none_record, probs_record


def test_a_chart_over_threads_and_one_over_the_batch_size_for_each_dtype() -> None:
    half = tuple(replace(point, dtype="bfloat16") for point in none_record().scaling)
    both = none_record(scaling=(*none_record().scaling, *half))
    root = parsed([both, probs_record()])
    assert [len(of_class(chart, "name")) for chart in charts(root, "scaling")] == [2, 2, 1, 1]
    captions = [one.text for one in root.iter("figcaption")]
    assert "Throughput over CPU threads, batch size 1, float32" in captions
    assert "Throughput over the batch size, CPU threads 1, bfloat16" in captions


def test_marks_say_what_they_show() -> None:
    threads, batches = charts(parsed([none_record()]), "scaling")
    titles = ["".join(one.itertext()) for one in of_class(threads, "point")]
    assert titles == ["none: CPU threads 1, 375 s/s", "none: CPU threads 2, 750 s/s"]
    assert {"1", "4"} <= {one.text for one in of_class(batches, "tick")}


def test_one_point_is_no_curve() -> None:
    lone = none_record(scaling=none_record().scaling[:1])
    assert charts(parsed([lone]), "scaling") == []
