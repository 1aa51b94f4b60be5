"""The Grafana dashboard: what stands at /metrics, through a Prometheus data source.

Every query is bounded by the variable `instance` (label `instance` that Prometheus gives a target). Panels that need what an installation
may lack (streams, completeness checks, enforcement) stay empty there; NEEDS says what each waits for, and the test holds them against it.
"""

from layout import Grid

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
ONLY = 'instance=~"$instance"'

# Metrics that a plain installation on files does not show, and what they need.
NEEDS = {
    "sluice_lag_seconds": "a stream", "sluice_retention_headroom_seconds": "a stream", "sluice_shard_lag_seconds": "a stream",
    "sluice_shard_lag_records": "a Kafka topic", "sluice_shard_headroom_seconds": "a stream",
    "sluice_coverage_gap_calls": "a side to compare with", "sluice_coverage_gap_usd": "a side to compare with",
    "sluice_coverage_gap_tokens": "a side to compare with", "sluice_coverage_compared": "a check of completeness",
    "sluice_coverage_checked_age_seconds": "a check of completeness", "sluice_levers": "a lever", "sluice_levers_stopped": "a lever",
    "sluice_breaker_open": "a lever", "sluice_config_age_seconds": "a configuration that is watched",
}


def query(expression: str, legend: str) -> dict:
    """A query; `%` stands for the choice of instances."""
    return {"datasource": DATASOURCE, "editorMode": "code", "expr": expression.replace("%", ONLY), "legendFormat": legend, "range": True}


def steps(*values) -> dict:
    """Colours from a value on: green, then each given pair of value and colour."""
    return {"mode": "absolute", "steps": [{"color": "green", "value": None}, *[{"color": colour, "value": at} for at, colour in values]]}


def panel(kind, title, queries, width=8, height=7, unit="short", description="", thresholds=None, options=None, **custom) -> dict:
    targets = [dict(query(expression, legend), refId=chr(ord("A") + number)) for number, (expression, legend) in enumerate(queries)]
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"}, "custom": custom}
    if thresholds:
        defaults |= {"thresholds": thresholds, "color": {"mode": "thresholds"}}
    return {"type": kind, "title": title, "description": description, "datasource": DATASOURCE, "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options or {}, "size": (width, height)}


def graph(title, queries, unit="short", width=8, description="", **custom) -> dict:
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
               "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, queries, width, 7, unit, description, None, options,
                 **{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", **custom})


def number(title, expression, unit="short", description="", thresholds=None) -> dict:
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "area",
               "justifyMode": "auto", "orientation": "auto", "textMode": "auto"}
    return panel("stat", title, [(expression, title)], 3, 4, unit, description, thresholds or steps(), options)


def bars(title, expression, legend, unit, description="", thresholds=None, width=12) -> dict:
    options = {"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "color", "namePlacement": "auto",
               "sizing": "auto", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel("bargauge", title, [(expression, legend)], width, 10, unit, description, thresholds or steps(), options)


def row(title) -> dict:
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


BAD = steps((1, "red"))

PANELS = [
    number("Ready", "min(sluice_ready{%})", description="1 when every instance answers 200 at /ready; sluice status tells why one does not.",
           thresholds={"mode": "absolute", "steps": [{"color": "red", "value": None}, {"color": "green", "value": 1}]}),
    number("Spend, last hour", "sum(increase(sluice_spend_usd_total{%}[1h]))", "currencyUSD",
           "For the eye: exact sums stand in the lake."),
    number("Calls, last hour", 'sum(increase(sluice_records_total{%,outcome="call"}[1h]))'),
    number("Without a price, 1 h", "sum(increase(sluice_unpriced_calls_total{%}[1h]))", thresholds=BAD,
           description="Their cost is unknown and not zero. Runbook: unpriced-calls."),
    number("Rejected, 1 h", 'sum(increase(sluice_records_total{%,outcome="rejected"}[1h]))', thresholds=BAD,
           description="Kept whole in table rejected. Runbook: records-rejected."),
    number("Spoofed, 1 h", "sum(increase(sluice_spoofed_calls_total{%}[1h]))", thresholds=BAD,
           description="Calls that claimed an agent their principal may not be. Runbook: spoofed-calls."),
    number("Holds in force", 'sum(sluice_holds{%,state="active",mode="enforce"}) or vector(0)', thresholds=steps((1, "orange"))),
    number("Waiting for a person", 'sum(sluice_holds{%,state="pending_approval"}) or vector(0)', thresholds=steps((1, "orange")),
           description="sluice hold list names them; sluice approve ID."),
    row("Spend and budgets"),
    graph("Spend an hour", [("sum by (instance) (rate(sluice_spend_usd_total{%}[5m])) * 3600", "{{instance}}")], "currencyUSD",
          description="Metrics carry no names of agents. By agent: the next panels for what nears a limit, sluice top, or the lake."),
    graph("Fastest budgets: spend an hour", [("topk(10, clamp_min(deriv(sluice_budget_spent_usd{%}[10m]) * 3600, 0))", "{{budget}}: {{target}}")],
          "currencyUSD", description="Of the 20 counters nearest to their limits. Sums fall when a period ends; that counts as nothing."),
    graph("Calls a second", [('sum by (outcome) (rate(sluice_records_total{%}[5m]))', "{{outcome}}")], "reqps"),
    bars("Fullest budgets", "sort_desc(sluice_budget_used_ratio{%})", "{{budget}}: {{target}}", "percentunit",
         "Spend over limit of the 20 counters nearest to their limits.", steps((0.8, "orange"), (1, "red"))),
    bars("Left until the limit", "sort(sluice_budget_limit_usd{%} - sluice_budget_spent_usd{%})", "{{budget}}: {{target}}", "currencyUSD",
         "Below nothing: over the limit."),
    graph("Thresholds crossed, an hour", [("sum(increase(sluice_breaches_total{%}[1h]))", "crossed")]),
    graph("Budgets", [("sum by (place) (sluice_budget_counters{%})", "counters in {{place}}"),
                      ("sum(sluice_unconfirmed_budgets{%})", "unconfirmed: only notify")]),
    graph("Stated bound exceeded", [("sum(sluice_overshoot_violations_total{%})", "holds since the start")],
          description="Holds that let more through than sluice budget list had stated as EXPOSURE. Runbook: overshoot-exceeded."),
    row("Enforcement"),
    graph("Holds", [("sum by (mode, state) (sluice_holds{%})", "{{mode}}, {{state}}")], stacking={"mode": "normal", "group": "A"}),
    graph("Actions since the start", [("sum by (action, state) (sluice_actions_total{%})", "{{action}}: {{state}}")],
          description="state failed: given up. Runbook: levers-failing."),
    graph("Crossings with open actions", [("sum(sluice_outbox_open{%})", "open")]),
    graph("Oldest crossing with open actions", [("max(sluice_outbox_age_seconds{%})", "age")], "s",
          description="More than some seconds is late. Runbook: told-late."),
    graph("Levers", [("sum by (state) (sluice_levers{%})", "{{state}}")],
          description="failing: could not be pulled or lifted, or does not stop what it should. Runbook: levers-failing."),
    graph("Breaker and kill switch", [("max(sluice_breaker_open{%})", "breaker tripped"), ("max(sluice_levers_stopped{%})", "kill switch thrown")],
          description="1: nothing is pulled. Runbook: breaker-open."),
    graph("Configuration", [("sum(sluice_config_refused_total{%})", "versions refused since the start")],
          description="Runbook: config-refused."),
    graph("Configuration is the newest", [("sluice_config_age_seconds{%}", "{{instance}}")], "s",
          description="Since it was last found to be; grows while a newer one is refused or none can be read."),
    row("Lag"),
    graph("From arrival to count", [("histogram_quantile(0.5, sum by (le) (rate(sluice_apply_latency_seconds_bucket{%}[5m])))", "p50"),
                                    ("histogram_quantile(0.99, sum by (le) (rate(sluice_apply_latency_seconds_bucket{%}[5m])))", "p99")], "s"),
    graph("From arrival to commit", [("histogram_quantile(0.5, sum by (le) (rate(sluice_commit_latency_seconds_bucket{%}[5m])))", "p50"),
                                     ("histogram_quantile(0.99, sum by (le) (rate(sluice_commit_latency_seconds_bucket{%}[5m])))", "p99")], "s"),
    graph("Watermark behind the clock", [("sluice_watermark_age_seconds{%}", "{{instance}}")], "s", description="Grows while no calls come."),
    graph("Oldest unread record", [("sluice_lag_seconds{%}", "{{instance}}"), ("topk(5, sluice_shard_lag_seconds{%})", "{{shard}}")], "s",
          description="Streams only. Runbook: stream-lag."),
    graph("Until a stream drops unread records", [("sluice_retention_headroom_seconds{%}", "{{instance}}"),
                                                  ("bottomk(5, sluice_shard_headroom_seconds{%})", "{{shard}}")], "s",
          description="Streams only. Below six hours: runbook iterator-age."),
    graph("Records behind the end", [("topk(5, sluice_shard_lag_records{%})", "{{shard}}")], description="Kafka only."),
    graph("Shards", [("sum by (state) (sluice_shards{%})", "{{state}}")], description="stopped: runbook shard-stopped."),
    graph("Files", [("sum by (state) (sluice_source_files{%})", "{{state}}")]),
    graph("Bytes of files", [("sum by (state) (sluice_source_stored_bytes{%})", "{{state}}")], "bytes"),
    graph("Rows that wait for the lake", [("sluice_lake_waiting_seconds{%}", "{{instance}}"),
                                          ("sluice_lake_commit_age_seconds{%}", "{{instance}}, last commit")], "s",
          description="Runbook: lake-commit-late."),
    graph("Commits take", [("histogram_quantile(0.99, sum by (le) (rate(sluice_local_commit_duration_seconds_bucket{%}[5m])))", "local, p99"),
                           ("histogram_quantile(0.99, sum by (le) (rate(sluice_lake_commit_duration_seconds_bucket{%}[5m])))", "lake, p99")], "s"),
    graph("Read", [("sum by (instance) (rate(sluice_read_bytes_total{%}[5m]))", "{{instance}}")], "Bps"),
    row("Is it whole?"),
    graph("Rejected by reason, since the start", [("sum by (reason) (sluice_rejected_records_total{%})", "{{reason}}")]),
    graph("Doubtful calls, an hour", [("sum(increase(sluice_unpriced_calls_total{%}[1h]))", "without a price"),
                                      ("sum(increase(sluice_spoofed_calls_total{%}[1h]))", "spoofed"),
                                      ("sum(increase(sluice_late_calls_total{%}[1h]))", "behind the watermark")]),
    graph("Gaps of streams", [("sum(sluice_gaps_total{%})", "since the start")], description="Runbook: shard-stopped."),
    graph("Calls the lake lacks", [("sluice_coverage_gap_calls{%}", "calls"), ("sluice_coverage_gap_tokens{%}", "tokens")],
          description="Absent while nothing can be compared. Runbook: coverage-gap."),
    graph("What they cost, estimated", [("sluice_coverage_gap_usd{%}", "USD")], "currencyUSD"),
    graph("Compared", [("sum by (side) (sluice_coverage_compared{%})", "{{side}}")], description="Models and hours of the last check."),
    graph("Since the last check", [("sluice_coverage_checked_age_seconds{%}", "{{instance}}")], "s"),
    row("Process"),
    graph("Memory", [("process_resident_memory_bytes{%}", "{{instance}}"), ("sluice_dedup_bytes{%}", "{{instance}}, request ids")], "bytes"),
    graph("CPU", [("rate(process_cpu_seconds_total{%}[5m])", "{{instance}}")], "percentunit"),
    graph("Files and threads", [("process_open_fds{%}", "open files"), ("process_threads{%}", "threads")]),
    graph("In memory", [("sluice_dedup_keys{%}", "request ids"), ("sluice_sessions{%}", "sessions"), ("sluice_agents{%}", "agents"),
                        ("sluice_pieces_in_flight{%}", "pieces in flight")]),
    graph("Alive", [("sluice_live{%}", "{{instance}}"), ("sluice_measures_age_seconds{%}", "{{instance}}, age of the snapshot")]),
    graph("Up", [("time() - process_start_time_seconds{%}", "{{instance}}")], "s"),
    graph("Versions", [("count by (version) (sluice_build_info{%})", "{{version}}")]),
]


def variables() -> list:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "multi": False,
         "includeAll": False, "options": [], "refresh": 1, "regex": "", "skipUrlSync": False, "current": {}},
        {"name": "instance", "label": "Instance", "type": "query", "datasource": DATASOURCE,
         "query": {"query": "label_values(sluice_live, instance)", "refId": "instances"}, "refresh": 2, "sort": 1, "hide": 0, "multi": True,
         "includeAll": True, "allValue": ".*", "options": [], "regex": "", "skipUrlSync": False,
         "current": {"text": "All", "value": "$__all"}},
    ]


def dashboard() -> dict:
    grid, panels = Grid(), []
    for number_, made in enumerate(PANELS, start=1):
        made = dict(made)
        if made["type"] == "row":
            grid.new_row()
        panels.append({"id": number_, "gridPos": grid.place(*made.pop("size")), **made})
        if made["type"] == "row":
            grid.new_row()
    return {"uid": "sluice", "title": "sluice", "tags": ["bedrock", "cost", "sluice"], "timezone": "utc", "editable": True, "graphTooltip": 1,
            "schemaVersion": 39, "version": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timepicker": {},
            "fiscalYearStartMonth": 0, "weekStart": "", "links": [], "annotations": {"list": []}, "templating": {"list": variables()},
            "panels": panels}
