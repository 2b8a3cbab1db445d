from dataclasses import replace

from tests.report.html.pages import charts, of_class, parsed
from tests.report.records import none_record, probs_record


def test_a_bar_for_each_run_with_what_was_timed_beside_it() -> None:
    first, second = charts(parsed([none_record(), probs_record()]), "training-step")
    assert [one.text for one in of_class(first, "name")] == ["none", "probs"]
    text = "4.00 s, 1.25x vs fused, 1.50x vs explicit, 2.00x vs nemo"
    assert [one.text for one in of_class(second, "value")] == [text, text]


def test_batches_are_named_and_runs_without_steps_left_out() -> None:
    half = tuple(replace(p, dtype="bfloat16") for p in probs_record().training_step[:1])
    root = parsed(
        [none_record(), probs_record(training_step=half), none_record(run="not", training_step=())]
    )
    captions = [one.text for one in root.iter("figcaption") if (one.text or "").startswith("Batch")]
    assert captions == [
        "Batch of 8 x 15 s in float32, 8 x 15 s in bfloat16",
        "Batch of 4 x 30 s in float32",
    ]
    assert [len(of_class(c, "name")) for c in charts(root, "training-step")] == [2, 1]
