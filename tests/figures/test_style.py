"""Files of figures."""

from xml.etree import ElementTree

from matplotlib.figure import Figure

from figures.style import write_figure


def test_a_figure_of_lines_is_also_an_svg_whose_text_stays_text(tmp_path):
    figure = Figure()
    figure.subplots().set(xlabel="petal length in cm")
    for name in ("a.png", "b.png"):
        write_figure(tmp_path / name, figure, vector=True)
    text = (tmp_path / "a.svg").read_text()
    words = [element.text for element in ElementTree.fromstring(text).iter() if element.text]
    assert "petal length in cm" in words
    assert "<dc:date>" not in text
    write_figure(tmp_path / "c.png", figure)
    assert len([*tmp_path.glob("*.png")]) == 3
    assert len([*tmp_path.glob("*.svg")]) == 2
