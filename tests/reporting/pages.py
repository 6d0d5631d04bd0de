"""Reading a report as a browser would: what stands in it, and what it would fetch."""

import re
from html.parser import HTMLParser


class Reader(HTMLParser):
    """Counts elements, collects identifiers, and checks that elements close in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.addresses, self.open, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.addresses.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def assert_stands_alone(text):
    page = Reader(text)
    assert [a for a in page.addresses if not a.startswith("#")] == []
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    assert "@import" not in text
    assert re.search(r"url\((?!#)", text) is None
    assert len(page.ids) == len(set(page.ids))
    targets = {a.removeprefix("#") for a in page.addresses}
    assert targets <= set(page.ids)
    return page
