import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from asr.report.html.markup import Markup, element, escaped


def test_attributes_are_written_as_html_names_them() -> None:
    written = element(
        "a", class_="x", stroke_width=1.23456, viewBox="0 0 1 1", hidden=True, id=None
    )
    assert written == '<a class="x" stroke-width="1.23" viewBox="0 0 1 1" hidden="hidden"></a>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8" />'


def test_texts_are_escaped_and_markup_is_not() -> None:
    assert element("p", "a<b", Markup("<i></i>")) == "<p>a&lt;b<i></i></p>"
    assert isinstance(escaped("<"), Markup)


@given(st.text(st.characters(codec=None)), st.text())
def test_any_text_comes_back_as_text(content: str, attribute: str) -> None:
    root = ET.fromstring(element("p", content, title=attribute))
    assert len(root) == 0
    assert len(root.text or "") <= len(content)
    assert list(root.keys()) == ["title"]
    root_bytes = element("p", content).encode()
    assert root_bytes.startswith(b"<p>")
