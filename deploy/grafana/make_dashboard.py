#!/usr/bin/env python3
"""Prints the dashboard that panels.py describes as Grafana's JSON (10 and later).

  deploy/grafana/make_dashboard.py > deploy/grafana/dashboards/ration.json
"""
import json

import panels

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT = 8
STACK = {"mode": "normal", "group": "A"}
DASH = {"fill": "dash", "dash": [8, 6]}


def variable(name, label, query, all_value=".*"):
    return {"type": "query", "name": name, "label": label, "datasource": DATASOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": all_value,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def refers_to(legend):
    """A regular expression for the names that a legend makes."""
    parts = legend.replace("(", "\\(").replace(")", "\\)").split("{{")
    return "/^" + parts[0] + "".join(".*" + part.split("}}")[1] for part in parts[1:]) + "$/"


def overrides(panel):
    found = []
    for query in panel.queries:
        properties = []
        if query.color:
            properties.append({"id": "color", "value": {"mode": "fixed", "fixedColor": query.color}})
        if query.dashed:
            properties += [{"id": "custom.lineStyle", "value": DASH}, {"id": "custom.fillOpacity", "value": 0}]
        if query.dashed and panel.stacked:
            properties.append({"id": "custom.stacking", "value": {"mode": "none", "group": "A"}})
        if properties and panel.kind == "timeseries":
            found.append({"matcher": {"id": "byRegexp", "options": refers_to(query.legend)}, "properties": properties})
    legends = " ".join(query.legend for query in panel.queries)
    if panel.kind == "timeseries" and "expert {{expert}}" in legends:
        for number, color in enumerate(panels.EXPERTS, 1):
            found.append({"matcher": {"id": "byRegexp", "options": f"/^expert {number}/"},
                          "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]})
    return found


def field_config(panel):
    defaults = {"unit": panel.unit, "noValue": panel.no_value, "color": {"mode": "palette-classic"}, "custom": {},
                "mappings": [{"type": "value", "options": {value: {"text": text, "color": color}}}
                             for value, text, color in panel.mappings]}
    for key, value in (("min", panel.minimum), ("max", panel.maximum), ("decimals", panel.decimals)):
        if value is not None:
            defaults[key] = value
    if panel.kind == "timeseries":
        defaults["custom"] = {"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 2, "showPoints": "never", "spanNulls": False,
                              "fillOpacity": 25 if panel.stacked else 8,
                              "stacking": STACK if panel.stacked else {"mode": "none", "group": "A"}}
    if panel.kind == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    return {"defaults": defaults, "overrides": overrides(panel)}


def options(panel):
    if panel.kind == "timeseries":
        return {"legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "state-timeline":
        return {"showValue": "auto", "rowHeight": 0.8, "mergeValues": True, "legend": {"showLegend": True, "displayMode": "list",
                                                                                      "placement": "bottom"}}
    if panel.kind == "heatmap":
        return {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Blues", "fill": "dark-blue", "steps": 64,
                                                            "exponent": 0.5},
                "yAxis": {"axisPlacement": "left", "unit": "none"}, "rowsFrame": {"layout": "le"}, "legend": {"show": True},
                "tooltip": {"show": True, "yHistogram": False}}
    return {"showHeader": True}


def transformations(panel):
    if panel.kind != "table":
        return []
    return [{"id": "organize", "options": {"excludeByName": {"Time": True, "job": True}, "renameByName": {
        "instance": "server", "name": "model", "dtype": "type", "Value": "up for"}}}]


def target(panel, query, number):
    return {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": query.expr, "legendFormat": query.legend,
            "instant": query.instant, "range": not query.instant, "editorMode": "code",
            "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series")}


def dashboard_panel(panel, number, x, y):
    description = " ".join(filter(None, (panel.description, panel.may_be_empty)))
    return {"id": number, "type": panel.kind, "title": panel.title, "description": description, "datasource": DATASOURCE,
            "gridPos": {"h": 5 if panel.kind == "table" else HEIGHT, "w": panel.width, "x": x, "y": y}, "fieldConfig": field_config(panel),
            "options": options(panel), "transformations": transformations(panel),
            "targets": [target(panel, query, i) for i, query in enumerate(panel.queries)]}


def dashboard():
    placed, number, y = [], 0, 0
    for row in panels.ROWS:
        number += 1
        placed.append({"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > 24:
                x, y = 0, y + HEIGHT
            number += 1
            placed.append(dashboard_panel(panel, number, x, y))
            x += panel.width
        y += HEIGHT
    return {
        "uid": "ration", "title": "Ration", "description": "An LLM server with a hard KV-cache budget.", "tags": ["ration", "llm"],
        "schemaVersion": 38, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "links": [], "annotations": {"list": []},
        "templating": {"list": [
            {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}, "refresh": 1},
            variable("model", "Model", "label_values(ration_model_info, name)"),
            variable("instance", "Server", 'label_values(ration_model_info{name=~"$model"}, instance)'),
            variable("tenant", "Tenant", 'label_values(ration_tenant_requests_running{instance=~"$instance"}, tenant)')]},
        "panels": placed}


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2, ensure_ascii=False))
