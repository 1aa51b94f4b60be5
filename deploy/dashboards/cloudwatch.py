"""The CloudWatch dashboard: metrics of namespace Sluice (dimension Instance) and of the services around it.

`${Instance}` (name of the stack = operate.instance) and `${Region}` are left for CloudFormation's Fn::Sub, or for sed. What has the stack's
name in its own name is found by a search, so that a queue or service that an installation lacks leaves a graph empty and not broken.
"""

from layout import Grid

MINUTE = 60


def ours(name: str, label: str, **more) -> list:
    return ["Sluice", name, "Instance", "${Instance}", {"label": label, **more}]


def found(namespace: str, dimensions: str, metric: str, stat: str, term: str = "${Instance}") -> list:
    """All metrics of a name with a term in the value of a dimension."""
    return [{"expression": f"SEARCH('{{{namespace},{dimensions}}} MetricName=\"{metric}\" {term}', '{stat}')"}]


def line(at: float, label: str) -> dict:
    return {"value": at, "label": label}


def graph(title, metrics, width=8, height=6, stat="Maximum", period=MINUTE, lines=(), **more) -> tuple:
    properties = {"title": title, "region": "${Region}", "view": "timeSeries", "stat": stat, "period": period, "metrics": metrics,
                  "yAxis": {"left": {"min": 0}}, **more}
    if lines:
        properties["annotations"] = {"horizontal": list(lines)}
    return "metric", width, height, properties


def numbers(title, metrics, width=24, stat="Sum", period=3600) -> tuple:
    return "metric", width, 4, {"title": title, "region": "${Region}", "view": "singleValue", "stat": stat, "period": period,
                                "metrics": metrics, "sparkline": True}


def text(markdown: str, height: int = 2) -> tuple:
    return "text", 24, height, {"markdown": markdown}


KINESIS = ["AWS/Kinesis", "StreamName", "${Instance}-logs"]
SHARED = ["AWS/DynamoDB", "TableName", "${Instance}-shared"]
FLAGS = ["AWS/DynamoDB", "TableName", "${Instance}-flags"]
TOPIC = ["AWS/SNS", "TopicName", "${Instance}-breaches"]


def of(thing: list, metric: str, label: str, **more) -> list:
    namespace, dimension, name = thing
    return [namespace, metric, dimension, name, {"label": label, **more}]


WIDGETS = [
    text("# ${Instance}\nWhat agents spend on Bedrock, and whether that is told in time. Each alarm has a section of its name in the runbook "
         "(`docs/runbook.md`). Who spends stands in Athena (workgroup `${Instance}`) and in `sluice top`: no metric carries names of agents."),
    numbers("Last hour", [
        ours("SpendUSD", "Spend, USD"), ours("Calls", "Calls"), ours("UnpricedCalls", "Calls without a price"),
        ours("RejectedRecords", "Rejected records"), ours("SpoofedCalls", "Spoofed calls"), ours("Breaches", "Thresholds crossed"),
        ours("FailedActions", "Failed actions"), ours("CoverageGapCalls", "Calls the lake lacks", stat="Maximum")]),
    text("## Spend and budgets", 1),
    graph("Spend an hour, USD", [[{"expression": "spend * 3600 / PERIOD(spend)", "label": "USD an hour", "id": "rate"}],
                                 ours("SpendUSD", "USD", id="spend", visible=False)], stat="Sum", period=300),
    graph("Calls", [ours("Calls", "New"), ours("DuplicateCalls", "Delivered again"), ours("LateCalls", "Behind the watermark")], stat="Sum"),
    graph("Calls as Bedrock counts them", [found("AWS/Bedrock", "ModelId", "Invocations", "Sum", "")], stat="Sum", period=300),
    graph("Thresholds crossed and holds", [ours("Breaches", "Crossed", stat="Sum"), ours("ActiveHolds", "Holds in force"),
                                           ours("OutboxOpen", "Crossings with open actions")]),
    graph("Enforcement that fails", [ours("FailedActions", "Actions given up", stat="Sum"), ours("LeversFailing", "Levers failing"),
                                     ours("BreakerOpen", "Breaker tripped")], period=300),
    graph("Crossings that wait for their actions", [ours("OutboxAgeSeconds", "Seconds since the oldest")], lines=[line(600, "told-late")]),
    graph("Calls nobody may rely on", [ours("UnpricedCalls", "Without a price"), ours("SpoofedCalls", "Of an agent the principal may not be")],
          stat="Sum", period=300),
    text("## Is it whole and in time?", 1),
    graph("Ready", [ours("Ready", "1 when ready")], stat="Minimum"),
    graph("Lag", [ours("LagSeconds", "Oldest unread record"), ours("WatermarkAgeSeconds", "Watermark behind the clock")],
          lines=[line(600, "stream-lag")]),
    graph("Until a stream drops unread records", [ours("RetentionHeadroomSeconds", "Seconds")], stat="Minimum",
          lines=[line(21600, "six hours")]),
    graph("From arrival to count and commit, p99", [ours("ApplyLatencyP99Seconds", "Counted"), ours("CommitLatencyP99Seconds", "Committed")]),
    graph("Rows that wait for the lake", [ours("LakeWaitingSeconds", "Oldest row")], lines=[line(180, "lake-commit-late")]),
    graph("Records", [ours("Records", "Read"), ours("RejectedRecords", "Rejected"), ours("Gaps", "Gaps of a stream"),
                      ours("StoppedShards", "Shards stopped", stat="Maximum")], stat="Sum"),
    graph("Completeness", [ours("CoverageGapCalls", "Calls the lake lacks")], period=300),
    graph("Configuration refused", [ours("ConfigRefused", "1 while the newest is refused")], period=300),
    graph("Read", [ours("ReadBytes", "Decompressed bytes")], stat="Sum"),
    text("## The way in", 1),
    graph("Stream: bytes and records", [of(KINESIS, "IncomingBytes", "Bytes"), of(KINESIS, "IncomingRecords", "Records", yAxis="right")],
          stat="Sum"),
    graph("Stream: refused", [of(KINESIS, "WriteProvisionedThroughputExceeded", "Writes"),
                              of(KINESIS, "ReadProvisionedThroughputExceeded", "Reads")], stat="Sum", lines=[line(1, "stream-write-throttled")]),
    graph("Stream: age of the iterator, ms", [of(KINESIS, "GetRecords.IteratorAgeMilliseconds", "Milliseconds")],
          lines=[line(1_800_000, "iterator-age")]),
    graph("Logs to the stream: errors and throttling",
          [found("AWS/Logs", "DestinationType,FilterName,LogGroupName", metric, "Sum", "") for metric in
           ["DeliveryErrors", "DeliveryThrottling"]], stat="Sum", period=300),
    graph("Bedrock to the log: deliveries that failed",
          [[{"expression": f"SEARCH('Namespace=\"AWS/Bedrock\" MetricName=\"{metric}\"', 'Sum')"}] for metric in
           ["ModelInvocationLogsCloudWatchDeliveryFailure", "ModelInvocationLogsS3DeliveryFailure",
            "ModelInvocationLargeDataS3DeliveryFailure"]], stat="Sum", period=300),
    graph("Queues: oldest message and how many",
          [found("AWS/SQS", "QueueName", "ApproximateAgeOfOldestMessage", "Maximum"),
           found("AWS/SQS", "QueueName", "ApproximateNumberOfMessagesVisible", "Maximum")]),
    text("## What it runs on and what it writes to", 1),
    graph("Process", [ours("ResidentBytes", "Resident bytes")]),
    graph("Task: CPU and memory, percent",
          [found("AWS/ECS", "ClusterName,ServiceName", metric, "Maximum") for metric in ["CPUUtilization", "MemoryUtilization"]]),
    graph("Functions: errors and throttles",
          [found("AWS/Lambda", "FunctionName", metric, "Sum") for metric in ["Errors", "Throttles"]], stat="Sum", period=300),
    graph("Shared and flags table: capacity used", [
        of(SHARED, "ConsumedWriteCapacityUnits", "Shared, writes"), of(SHARED, "ConsumedReadCapacityUnits", "Shared, reads"),
        of(FLAGS, "ConsumedWriteCapacityUnits", "Flags, writes"), of(FLAGS, "ConsumedReadCapacityUnits", "Flags, reads")], stat="Sum"),
    graph("Tables: throttled", [of(SHARED, "WriteThrottleEvents", "Shared, writes"), of(SHARED, "ReadThrottleEvents", "Shared, reads"),
                                of(FLAGS, "ReadThrottleEvents", "Flags, reads")], stat="Sum"),
    graph("Topic of breaches", [of(TOPIC, "NumberOfMessagesPublished", "Published"), of(TOPIC, "NumberOfNotificationsDelivered", "Delivered"),
                                of(TOPIC, "NumberOfNotificationsFailed", "Failed")], stat="Sum", period=300),
    ("log", 24, 6, {"title": "Warnings and errors of the process", "region": "${Region}", "view": "table",
                    "query": "SOURCE '/sluice/${Instance}' | fields @timestamp, @message | filter @message like /WARN|ERROR/ "
                             "| sort @timestamp desc | limit 50"}),
]


def dashboard() -> dict:
    grid, widgets = Grid(), []
    for kind, width, height, properties in WIDGETS:
        place = grid.place(width, height)
        widgets.append({"type": kind, "x": place["x"], "y": place["y"], "width": width, "height": height, "properties": properties})
    return {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}
