import html.parser

from mbt_lite.records import Question
from mbt_lite.report.completion_page import completion_page

QUESTION = Question("q1", "Who <b>knows</b>?", "R&D", ("Research",), (), "test")
CALM = {"answer": 0.0, "keep": 0.0}


def row(step: int, reward: float, text: str, keep: float = 0.0) -> dict[str, object]:
    return {
        "step": step, "question_id": "q1", "text": text, "finish_reason": "stop", "completion_tokens": 7,
        "terms": {"answer": 0.0, "keep": keep}, "reward": reward,
    }  # fmt: skip


class Texts(html.parser.HTMLParser):
    """Collect the completions by the heading they stand under."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tag, self.headings, self.found = "", ["", ""], dict[tuple[str, str], list[str]]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tag = tag

    def handle_endtag(self, tag: str) -> None:
        self.tag = ""

    def handle_data(self, data: str) -> None:
        if self.tag in ("h2", "h3"):
            self.headings[int(self.tag[1]) - 2] = data
        if self.tag == "pre":
            self.found.setdefault((self.headings[0], self.headings[1].partition(" (")[0]), []).append(data)


def test_completion_page_shows_best_worst_and_lost_of_each_checkpoint() -> None:
    rows = [row(1, 0.1, "a"), row(1, 0.9, "b"), row(2, 0.5, "c", keep=-1.0), row(2, 0.4, "d"), row(3, 0.2, "e")]
    found = Texts(completion_page(rows, [QUESTION], 2, "demo")).found
    assert found == {
        ("Steps 3 to 3", "Best"): ["e"],
        ("Steps 3 to 3", "Worst"): ["e"],
        ("Steps 1 to 2", "Best"): ["b", "c", "d"],
        ("Steps 1 to 2", "Worst"): ["a", "d", "c"],
        ("Steps 1 to 2", "Had the answer and lost it"): ["c"],
    }


def test_completion_page_escapes_what_the_model_wrote() -> None:
    page = completion_page([row(1, 0.0, "<think></pre><script>alert(1)</script>")], [QUESTION], 1, "<run>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "gold: R&amp;D / Research" in page
    assert "&lt;run&gt;" in page
    assert "http" not in page, "the page needs no network"
