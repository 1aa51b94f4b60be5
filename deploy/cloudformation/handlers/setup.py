"""Finds or makes what sluice reads: invocation logging, the subscription of its log group, a trail, the first budgets.

Custom resources: Logging, Subscription, Trail, Seed. What was there before the stack is never changed and never removed.
"""

from answer import ClientError, client, code, serve, until

BODIES = ["textDataDeliveryEnabled", "imageDataDeliveryEnabled", "embeddingDataDeliveryEnabled", "videoDataDeliveryEnabled",
          "audioDataDeliveryEnabled"]
TURN_ON = "update the stack with ManageLogging=true, or set it up yourself: aws bedrock put-model-invocation-logging-configuration"
# How long a new role may take until other services see it, in seconds.
SPREAD = 90


def logging(event, context):
    own, bedrock = event["ResourceProperties"], client("bedrock")
    found = bedrock.get_model_invocation_logging_configuration().get("loggingConfig") or {}
    of_cloudwatch = found.get("cloudWatchConfig", {})
    # The log group has a generated name, so nobody else's configuration names it with this role.
    is_ours = own["Manage"] == "true" and of_cloudwatch.get("logGroupName") == own["LogGroup"] and of_cloudwatch.get("roleArn") == own["RoleArn"]
    if event["RequestType"] == "Delete":
        if is_ours and own["RemoveOnDelete"] == "true" and not found.get("s3Config") and not any(found.get(body) for body in BODIES):
            bedrock.delete_model_invocation_logging_configuration()
        return None, {}
    if not found and own["Manage"] == "true":
        wanted = {"cloudWatchConfig": {"logGroupName": own["LogGroup"], "roleArn": own["RoleArn"]}, **dict.fromkeys(BODIES, False)}

        def put():
            try:
                bedrock.put_model_invocation_logging_configuration(loggingConfig=wanted)
                return "made"
            except ClientError as error:
                if code(error) != "ValidationException":
                    raise
                put.error = error
                return None

        if not until(context, SPREAD, put):
            raise put.error
        found, of_cloudwatch, is_ours = wanted, wanted["cloudWatchConfig"], True
    group, bucket = of_cloudwatch.get("logGroupName", ""), found.get("s3Config", {}).get("bucketName", "")
    has_bodies = any(found.get(body, True) for body in BODIES)
    if group:
        state, told = "on", f"invocation logging is on: log group {group}" + (" (made by this stack)" if is_ours else "")
    elif found:
        state, told = "s3-only", f"invocation logging writes to bucket {bucket} only: update the stack with LogBucketName={bucket}"
    else:
        state, told = "off", f"INVOCATION LOGGING IS OFF: calls are known from CloudTrail alone, as lower bounds. To turn it on: {TURN_ON}"
    told += "; texts are logged, too: records are large" if group and has_bodies else ""
    data = {"State": state, "Told": told, "LogGroup": group, "Distribution": "Random" if has_bodies else "ByLogStream"}
    return "model-invocation-logging", data


def subscription(event, context):
    own, logs = event["ResourceProperties"], client("logs")
    name, group = own["Name"], own["LogGroup"]
    if event["RequestType"] == "Delete":
        # The id tells whose filter it was: of a group that was replaced the properties no longer know.
        group = event["PhysicalResourceId"].partition("|")[0]
        if group not in ("", "none"):
            try:
                logs.delete_subscription_filter(logGroupName=group, filterName=name)
            except ClientError as error:
                if code(error) != "ResourceNotFoundException":
                    raise
        return None, {}
    state, told = "none", "there is no log group to subscribe to"
    if group:
        state, told = subscribe(logs, own, context)
    return f"{group if state == 'on' else ''}|{name}", {"State": state, "Told": told}


def subscribe(logs, own, context):
    name, group = own["Name"], own["LogGroup"]
    full = ("full", f"log group {group} has two subscription filters already, which is the most: remove one, or have Bedrock write to "
            "S3, too, and update the stack with LogBucketName")
    gone = ("no-group", f"log group {group} is not there, although the logging configuration names it: make it, then update the stack")

    def put():
        try:
            names = [known["filterName"] for known in logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]]
            if name not in names and len(names) >= 2:
                return full
            logs.put_subscription_filter(logGroupName=group, filterName=name, filterPattern="", destinationArn=own["Destination"],
                                         distribution=own["Distribution"], **({"roleArn": own["RoleArn"]} if own.get("RoleArn") else {}))
            return "on", f"log group {group} is subscribed to"
        except ClientError as error:
            if code(error) == "LimitExceededException":
                return full
            if code(error) == "ResourceNotFoundException":
                return gone
            if code(error) != "InvalidParameterException":
                raise
            # A new role or stream: CloudWatch Logs cannot deliver its test message yet.
            put.error = error
            return None

    done = until(context, SPREAD, put)
    if not done:
        raise put.error
    return done


def trail(event, context):
    data = {"State": "off", "Bucket": "", "Replay": "", "Told": "no trail logs management events here: callers are told apart by what the "
            "invocation log says alone. Update the stack with CreateTrail=true (the first trail of an account is free)"}
    if event["RequestType"] == "Delete":
        return None, {}
    cloudtrail, region = client("cloudtrail"), event["ResourceProperties"]["Region"]
    account = event["ResourceProperties"]["Account"]
    for known in cloudtrail.describe_trails(includeShadowTrails=True)["trailList"]:
        if not (known.get("IsMultiRegionTrail") or known.get("HomeRegion") == region) or not takes_reads(cloudtrail, known["TrailARN"]):
            continue
        bucket, prefix = known["S3BucketName"], known.get("S3KeyPrefix", "")
        folder = f"s3://{bucket}/{prefix + '/' if prefix else ''}AWSLogs/"
        replay = folder if known.get("IsOrganizationTrail") else f"{folder}{account}/CloudTrail/{region}/"
        data = {"State": "on", "Bucket": bucket, "Replay": replay, "Told": f"trail {known['Name']} logs management events to {folder}"}
        break
    return "trail", data


def takes_reads(cloudtrail, arn):
    """Tells whether a trail logs management events that only read, as calls of models are; a trail that may not be looked at does."""
    try:
        if not cloudtrail.get_trail_status(Name=arn)["IsLogging"]:
            return False
        found = cloudtrail.get_event_selectors(TrailName=arn)
    except ClientError as error:
        if code(error) in ("AccessDeniedException", "AccessDenied", "TrailNotFoundException"):
            return code(error) != "TrailNotFoundException"
        raise
    basic = [one for one in found.get("EventSelectors", []) if one.get("IncludeManagementEvents") and one.get("ReadWriteType") != "WriteOnly"]
    fields = [{field["Field"]: field.get("Equals", []) for field in one["FieldSelectors"]} for one in found.get("AdvancedEventSelectors", [])]
    return bool(basic) or any(one.get("eventCategory") == ["Management"] and one.get("readOnly", ["true"]) == ["true"] for one in fields)


def seed(event, context):
    own, ssm = event["ResourceProperties"], client("ssm")
    name = own["Name"]
    if event["RequestType"] == "Delete":
        try:
            # What somebody has written there is theirs.
            if ssm.get_parameter(Name=name)["Parameter"]["Value"] == own["Text"]:
                ssm.delete_parameter(Name=name)
        except ClientError as error:
            if code(error) != "ParameterNotFound":
                raise
        return None, {}
    try:
        ssm.put_parameter(Name=name, Value=own["Text"], Type="String", Overwrite=False, Description=own["Description"])
    except ClientError as error:
        if code(error) != "ParameterAlreadyExists":
            raise
    return name, {"Name": name}


KINDS = {"Logging": logging, "Subscription": subscription, "Trail": trail, "Seed": seed}


def handler(event, context):
    return serve(KINDS, event, context)
