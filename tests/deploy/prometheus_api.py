"""Asks a Prometheus over its HTTP API; and finds the metrics in an expression of PromQL."""
import json
import re
import urllib.parse
import urllib.request

# Words of PromQL that are no metrics although no parenthesis follows.
WORDS = {"and", "or", "unless", "on", "ignoring", "by", "without", "group_left", "group_right", "bool", "offset", "inf", "nan"}


class PrometheusApi:
    def __init__(self, address):
        self.address = address

    def _get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def instant(self, expression):
        return self._get("query", query=expression)["result"]

    def range(self, expression, start, end, step):
        """Series as ({label: value}, [(time, value)]); those that are NaN throughout are no data."""
        found = []
        for series in self._get("query_range", query=expression, start=start, end=end, step=step)["result"]:
            points = [(float(at), float(value)) for at, value in series["values"] if value != "NaN"]
            if points:
                found.append((series["metric"], points))
        return found

    def alerts(self):
        return self._get("alerts")["alerts"]


def vector_selectors(expression):
    """The metrics an expression reads, each with its labels: `up{job="ration"}`; ranges left out."""
    masked = re.sub(r'"[^"]*"', lambda match: match.group().replace("(", "\1").replace("{", "\2"), expression)
    # The labels that a modifier lists are no metrics.
    masked = re.sub(r"\b(on|ignoring|by|without|group_left|group_right)\s*\([^)]*\)", " ", masked)
    found = []
    for match in re.finditer(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})?(?=\s*(.?))", re.sub(r"\[[^]]*\]", "", masked)):
        name = match.group().split("{")[0]
        called = match.group(1) is None and match.group(2) == "("
        if not called and name.lower() not in WORDS:
            found.append(match.group().replace("\1", "(").replace("\2", "{"))
    return found


def metric_names(expression):
    return {selector.split("{")[0] for selector in vector_selectors(expression)}
