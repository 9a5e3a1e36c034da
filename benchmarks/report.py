"""Tables for the terminal and for the page, from what was recorded."""

from benchmarks.contenders import CONTENDERS

_INTRODUCTION = """# Benchmarks

Written by `make bench` from the JSON files in `benchmarks/results`; not edited by hand.

Every contender does the same job in a process of its own: n = 1000 samples, 16,384 chains (fewer where said), sampling
with replacement and single precision unless said otherwise. Before it is timed, its chains are held against the exact
mean and variance of every coordinate, or against an independent simulation, and must lie within 5 standard errors.
Contenders then take turns in rounds of about a second. Rates are in steps of one chain per second, median and range
over rounds; ratios are medians over rounds of the ratio within a round, with their range.
"""


def table(job: dict) -> list[list[str]]:
    """Rows of one race, the heading first."""
    first = job["first"]
    rows = [["contender", "chain-steps/s", "min–max", f"{first} : it (range)", "remarks"]]
    for name, entry in job["contenders"].items():
        if entry["status"] != "ok" or not entry["rates"]:
            reason = entry.get("reason") or (f"{entry['worst']:.1f} standard errors off" if "worst" in entry else "")
            rows.append([CONTENDERS[name].says, entry["status"], "", "", reason])
            continue
        middle, low, high = entry["rate"]
        ratio = "{} ({}–{})".format(*map(short, entry["ratio"])) if "ratio" in entry and name != first else ""
        rows.append([CONTENDERS[name].says, short(middle), f"{short(low)}–{short(high)}", ratio, _remarks(entry)])
    return rows


def _remarks(entry: dict) -> str:
    said = [entry.get("variant", "")]
    if "mean_exit_step" in entry:
        (mean, error), (low, high) = entry["mean_exit_step"], entry["quantiles"]
        said.append(f"mean exit step {mean:.1f} ± {error:.1f}, from {low:.0f} (1 %) to {high:.0f} (99 %)")
    if "utilisation" in entry.get("notes", {}):
        said.append(f"utilisation {entry['notes']['utilisation']:.3f}")
    return "; ".join(part for part in said if part)


def targets(job: dict) -> list[str]:
    """One line for every target: what was aimed at, what came, whether it was reached."""
    return [_target(target) for target in job["targets"]]


def _target(target: dict) -> str:
    verdict = {True: "reached", False: "not reached", None: "for information"}[target["reached"]]
    if "at_most" in target:
        if target["value"] is None:
            return f"{target['says']}: at most {short(target['at_most'])}: not measured"
        return f"{target['says']}: at most {short(target['at_most'])}: {short(target['value'])}, {verdict}"
    over = target["over"][0] if len(target["over"]) == 1 else f"the fastest of {', '.join(target['over'])}"
    aim = "" if target["at_least"] is None else f" ≥ {short(target['at_least'])}"
    if target["ratio"] is None:
        return f"{target['of']} : {over}{aim}: not measured"
    best = f" ({target['best']})" if len(target["over"]) > 1 else ""
    ratio, low, high = map(short, target["ratio"])
    return f"{target['of']} : {over}{aim}: {ratio} ({low}–{high}){best}, {verdict}"


def study(name: str, job: dict) -> list[list[str]]:
    """Rows of a job that is no race."""
    if name == "memory":
        rows = [["chains", "d", "steps", "peak", "time"]]
        for case in job["cases"]:
            sizes = [f"{case[key]:,}" for key in ("chains", "d", "steps")]
            got = [f"{case['peak'] / 1e6:,.0f} MB", f"{case['seconds']:.1f} s"] if "peak" in case else ["failed", ""]
            rows.append(sizes + got)
        return rows
    rows = [["varied", "from", "to", "time of a run", "slope", "last decade"]]
    for key, curve in job.get("curves", {}).items():
        ends = [f"{curve['values'][k]:,}" for k in (0, -1)]
        times = "–".join(f"{curve['seconds'][k][0]:.3g}" for k in (0, -1))
        rows.append([key, *ends, f"{times} s", f"{curve['slope']:.2f}", f"{curve['end_slope']:.2f}"])
    return rows


def rows_of(name: str, job: dict) -> list[list[str]]:
    """Rows of any job."""
    return table(job) if "contenders" in job else study(name, job)


def plain(name: str, job: dict) -> str:
    """One job for the terminal."""
    rows = rows_of(name, job)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    failures = dict.fromkeys(case["reason"] for case in job.get("cases", [job]) if "reason" in case)
    return "\n".join([f"{name}: {job['says']}", *lines, *failures, *(f"→ {line}" for line in targets(job))])


def page(cpu: dict, cuda: dict) -> str:
    """Lay out the page."""
    parts = [_INTRODUCTION]
    for title, held in (("CPU", cpu), ("GPU", cuda)):
        parts.append(f"## {title}\n")
        if not held["jobs"]:
            command = "make bench" if title == "CPU" else ".bench/bin/python -m benchmarks --device cuda"
            parts.append(f"Not measured yet; `{command}` does it.\n")
            continue
        said = None
        for name, job in held["jobs"].items():
            where = job["environment"]
            key = {k: v for k, v in where.items() if k not in ("date", "load_before")}
            if key != said:
                said = key
                parts.append(_where(where))
            parts.append(_section(name, job))
    return "\n".join(parts).rstrip() + "\n"


def _where(where: dict) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    device = "" if where["device"] == "cpu" else f"{where['device']}; "
    return (
        f"{device}{where['cpu']}, {where['cores']} cores; {where['system']}; Python {where['python']}; {versions}; "
        f"commit {where['commit'] or 'unknown'}.\n"
    )


def _section(name: str, job: dict) -> str:
    head, *rows = [[cell.replace("|", "\\|") for cell in row] for row in rows_of(name, job)]
    lines = [f"### {name}\n", f"{job['says']}. Measured {job['environment']['date'][:10]}.\n"]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [""] + [f"- {line}" for line in targets(job)] + [""] * bool(job["targets"])
    if name == "scaling":
        lines += ["![Time of a run against chains, steps, dimension, batch size and samples.](scaling.png)", ""]
    return "\n".join(lines)


def short(number: float) -> str:
    """Three digits, and a letter for thousands, millions and milliards."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
