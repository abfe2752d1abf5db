"""Draws the data of the dashboard's panels with gnuplot: one SVG a row, its panels in the places they have on the dashboard."""
import pathlib
import re
import subprocess

COLORS = {"green": "#4a9c3f", "yellow": "#d9a404", "red": "#d62f3e", "dark-red": "#8f1d2c", "blue": "#2f6fd0", "dark-blue": "#1b3f8b",
          "super-light-blue": "#8fc1f2", "orange": "#ee7f1a", "purple": "#8a4fbf"}
PALETTE = ["#4a9c3f", "#d9a404", "#2f6fd0", "#ee7f1a", "#d62f3e", "#8a4fbf", "#5aa9b8", "#8d6e4f", "#b0568f", "#7a7a7a"]
EXPERT_COLORS = [COLORS["dark-blue"], COLORS["blue"], COLORS["super-light-blue"]]
HEIGHT, WIDTH = 250, 1200  # pixels of a panel and of a row
MOST_IN_LEGEND = 6  # beyond it, series that are zero throughout are left out first
KEY = "set key at graph 0.5,-0.3 center top horizontal samplen 1.5 spacing 0.9 font 'Helvetica,10' maxcols 4"


def legend_of(query, labels):
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match.group(1), ""), query.legend)
    return re.sub(r"127\.0\.0\.1:\d+", "server", text)


def lines_of(answers):
    """[(legend, query, points)] of all queries of a panel."""
    return [(legend_of(query, labels), query, points) for query, series in answers for labels, points in series]


def color_of(legend, query, number):
    expert = re.match(r"expert (\d+)(?! to)", legend)
    if expert:
        return EXPERT_COLORS[int(expert.group(1)) - 1]
    return COLORS.get(query.color) or PALETTE[number % len(PALETTE)]


def scale_of(unit, largest):
    """(factor, unit as text) for the values of a panel."""
    if unit == "s":
        return (1000, "ms") if largest < 1 else (1, "s")
    if unit == "bytes":
        return (1 / 1024, "KiB") if largest < 2**20 else (1 / 2**20, "MiB")
    return {"percentunit": (100, "%"), "tokens/s": (1, "tokens/s"), "reqps": (1, "requests/s")}.get(unit, (1, ""))


class Script:
    """A gnuplot script with its data inline."""

    def __init__(self, path, panel_rows):
        size = f"{WIDTH},{HEIGHT * panel_rows}"
        self.text = [f"set terminal svg size {size} font 'Helvetica,11' noenhanced background '#ffffff'", f"set output '{path}'",
                     "set multiplot", "set border 3 lc rgb '#888888'", "set tics nomirror textcolor rgb '#444444'",
                     "set grid ytics lc rgb '#e4e4e4' lt 1", "set style fill transparent solid 0.35 noborder"]
        self.blocks = 0

    def block(self, rows):
        self.blocks += 1
        self.text.append(f"$d{self.blocks} << EOD\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\nEOD")
        return f"$d{self.blocks}"

    def place(self, x, y, width, height, title):
        self.text += ["unset label; unset key; unset colorbox; set ytics auto; set xtics auto",
                      f"set origin {x},{y}; set size {width},{height}",
                      f"set title '{title}' font 'Helvetica-Bold,12' offset 0,-0.4", "set xrange [0:*]; set autoscale y",
                      "set lmargin 9; set rmargin 2; set tmargin 2; set bmargin 5.5",
                      "set xlabel 'seconds' offset 0,0.7 textcolor rgb '#888888' font 'Helvetica,9'"]


def stacked(lines):
    """Points of lines added up, the first at the bottom; over the times that any of them has."""
    times = sorted({at for _, _, points in lines for at, _ in points})
    below = dict.fromkeys(times, 0.0)
    result = []
    for legend, query, points in lines:
        values = dict(points)
        rows = [(at, below[at], below[at] + values.get(at, 0.0)) for at in times]
        below = {at: high for at, _, high in rows}
        result.append((legend, query, rows))
    return result


def draw_lines(script, panel, lines, start):
    keyed = sorted(lines, key=lambda line: -max(value for _, value in line[2]))[:MOST_IN_LEGEND] if len(lines) > MOST_IN_LEGEND else lines
    largest = max((value for _, _, points in lines for _, value in points), default=0)
    factor, unit = scale_of(panel.unit, largest)
    script.text.append(f"set ylabel '{unit}' offset 1.5,0")
    script.text.append(KEY)
    low = f"{panel.minimum * factor}" if panel.minimum is not None else "*"
    high = f"{panel.maximum * factor * 1.04}" if panel.maximum is not None else "*"
    script.text.append(f"set yrange [{low}:{high}]")
    plots = []
    solid = [line for line in lines if not line[1].dashed]
    for number, (legend, query, rows) in enumerate(stacked(solid) if panel.stacked else []):
        data = script.block((at - start, low_ * factor, high_ * factor) for at, low_, high_ in rows)
        title = f"title '{legend}'" if any(line[0] == legend for line in keyed) else "notitle"
        plots.append(f"{data} using 1:2:3 with filledcurves lc rgb '{color_of(legend, query, number)}' {title}")
    for number, (legend, query, points) in enumerate([line for line in lines if line[1].dashed] if panel.stacked else lines):
        data = script.block((at - start, value * factor) for at, value in points)
        dash = "dt 2 lw 1.5" if query.dashed else "lw 1.8"
        title = f"title '{legend}'" if any(line[0] == legend for line in keyed) else "notitle"
        plots.append(f"{data} using 1:2 with lines lc rgb '{color_of(legend, query, number)}' {dash} {title}")
    script.text.append("plot " + ", ".join(plots))


def draw_heatmap(script, lines, start):
    bounds = sorted((float(legend), dict(points)) for legend, _, points in lines if legend != "+Inf")
    times = sorted({at for _, points in bounds for at in points})
    rows, below = [], dict.fromkeys(times, 0.0)
    for bound, points in bounds:
        rows += [(at - start, bound - 0.05, max(points.get(at, 0.0) - below[at], 0) ** 0.5) for at in times]
        below = {at: points.get(at, below[at]) for at in times}
    script.text += ["set yrange [0:1]; set ylabel 'score'", "set palette defined (0 '#ffffff', 0.2 '#cfe0f5', 1 '#1b3f8b')",
                    f"plot {script.block(rows)} using 1:2:3 with image notitle"]


def draw_states(script, panel, lines, start):
    texts = {float(value): (text, COLORS[color]) for value, text, color in panel.mappings}
    used = []
    for number, (_, _, points) in enumerate(lines):
        begin = points[0]
        for at, value in points[1:] + [(points[-1][0], None)]:
            if value != begin[1]:
                text, color = texts[begin[1]]
                script.text.append(f"set object rectangle from {begin[0] - start},{number + 0.2} to {at - start},{number + 0.8} "
                                   f"fc rgb '{color}' fs solid 0.6 noborder")
                used.append((text, color))
                begin = (at, value)
    end = max(at for _, _, points in lines for at, _ in points) - start
    script.text += [f"set yrange [0:{len(lines)}]; set xrange [0:{end}]; unset ytics; set ylabel ''",
                    KEY]
    keys = [f"NaN with boxes lc rgb '{color}' title '{text}'" for text, color in dict.fromkeys(used)]
    script.text += ["plot " + ", ".join(keys), "unset object"]


def draw_table(script, lines):
    words = [" / ".join(f"{name} {value}" for name, value in sorted(labels.items()) if name not in ("job", "instance"))
             + f" / up for {points[-1][1]:.0f} s" for labels, points in lines]
    script.text += ["unset tics; unset border; set xlabel ''; set ylabel ''; set yrange [0:1]; set xrange [0:1]",
                    *(f"set label {i + 1} '{text}' at 0.02,{0.8 - 0.2 * i} font 'Helvetica,11'" for i, text in enumerate(words)),
                    "plot NaN notitle", "set tics nomirror; set border 3"]


def draw_row(row, answers, start, folder):
    """Writes FOLDER/dashboard-TITLE.svg and returns its path."""
    path = folder / f"dashboard-{re.sub(r'[^a-z]+', '-', row.title.lower())}.svg"
    places, x, y = [], 0, 0
    for panel in row.panels:
        if x + panel.width > 24:
            x, y = 0, y + 1
        places.append((panel, x, y))
        x += panel.width
    rows = y + 1
    script = Script(path, rows)
    for panel, x, y in places:
        script.place(x / 24, 1 - (y + 1) / rows, panel.width / 24, 1 / rows, panel.title)
        lines = lines_of(answers[panel])
        if not lines:
            script.text += ["unset tics; unset border; set xlabel ''; set ylabel ''; set yrange [0:1]; set xrange [0:1]",
                            f"set label 1 '{panel.no_value}' at 0.5,0.5 center textcolor rgb '#888888'", "plot NaN notitle",
                            "set tics nomirror; set border 3"]
        elif panel.kind == "heatmap":
            draw_heatmap(script, lines, start)
        elif panel.kind == "state-timeline":
            draw_states(script, panel, lines, start)
        elif panel.kind == "table":
            draw_table(script, [(labels, points) for _, series in answers[panel] for labels, points in series])
        else:
            draw_lines(script, panel, lines, start)
    script.text.append("unset multiplot")
    subprocess.run(["gnuplot"], input="\n".join(script.text) + "\n", text=True, check=True)
    return pathlib.Path(path)
