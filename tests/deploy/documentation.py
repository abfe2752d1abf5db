"""Reads the project's pages of Markdown."""
import re


def anchors(path):
    """What links to a page's headings end with, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def metrics_of(path):
    """The families that docs/metrics.md lists, with their types."""
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", path.read_text(), re.MULTILINE))


def series_of(families):
    """The names that Prometheus stores for families."""
    names = set()
    for family, kind in families.items():
        names |= {family + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {family}
    return names
