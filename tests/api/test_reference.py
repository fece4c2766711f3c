"""The page of the interface: all of it, and nothing from elsewhere."""

import re
from html.parser import HTMLParser

from starlette.testclient import TestClient

from luthier.api.app import create_app
from luthier.api.platform import Platform
from luthier.api.reference import page


class Links(HTMLParser):
    """Ids, and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.references: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in ("href", "src"):
                self.references.add(value or "")


def test_every_route_and_type_is_there_and_nothing_is_fetched(platform: Platform):
    client = TestClient(create_app(platform))
    answer, described = client.get("/docs"), client.get("/openapi.json").json()
    assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
    shown = {tuple(found) for found in re.findall(r"<span class=method>(\w+)</span><code>([^<]+)</code>", answer.text)}
    assert shown == {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    links = Links(answer.text)
    assert {one for one in links.references if not one.startswith("#")} == {"/openapi.json"}
    assert {one[1:] for one in links.references if one.startswith("#")} <= links.ids
    assert "NewFeedback" in answer.text and "<script" not in answer.text


def test_what_a_field_takes_is_said_in_words():
    field = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20, "description": "As `many` <b>"}
    schema = {"type": "object", "properties": {"limit": field, "a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "required": ["a"]}
    told = page({"info": {"title": "T", "version": "1", "summary": "S"}, "paths": {}, "components": {"schemas": {"One": schema}}})
    assert "integer, 1 to 1,000, else <code>20</code>" in told
    assert "As <code>many</code> &lt;b&gt;" in told and "<td>string<td>" in told
