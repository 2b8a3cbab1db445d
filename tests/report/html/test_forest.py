from tests.report.html.pages import charts, differences_of, many_records, of_class, parsed


def test_zero_is_shown_and_intervals_lie_inside() -> None:
    records = many_records(5)
    (chart,) = charts(parsed(records, differences_of(records)), "differences")
    (zero,) = of_class(chart, "zero")
    (axis,) = of_class(chart, "axis")
    left, right = float(axis.get("x1") or 0), float(axis.get("x2") or 0)
    assert left < float(zero.get("x1") or 0) < right
    for bar in of_class(chart, "bar"):
        assert left <= float(bar.get("x1") or 0) <= float(bar.get("x2") or 0) <= right
    assert [one.text for one in of_class(chart, "value")] == [
        "-1.00 [-2.00, +1.00]",
        "-0.50 [-1.50, +1.50]",
        "+0.00 [-1.00, +2.00]",
        "+0.50 [-0.50, +2.50]",
    ]
