"""Lifts every deny before what could lift it goes: at the end of the stack, and when enforcement is switched off.

Custom resources: Release (acts on Delete; refuses an Update that leaves somebody behind), EnforcementSwitch (acts on an Update from on to
off). The orders are left in the shared table as `sluice teardown` leaves them; the daemon carries them out. If it does not answer, it is stopped and
the deny policy is detached here. As long as one deny is left the answer is a failure that names whom it is on. In a member account there is neither table nor service: the
enforcer's role is gone by then, and the policy is detached here.
"""

import fnmatch
import hashlib
import json
import time
from datetime import datetime, timezone

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from answer import ClientError, client, code, serve, until

# How long the daemon may take to lift everything, in seconds; and to answer when there is nothing to lift.
LIFT = 300
REPLY = 60
# How long a service may take to stop, in seconds: its drain and then some.
STOP = 180
# How long whoever took on a role may act as it after its end, in seconds.
LINGER = 20
# How often the daemon is asked whether it has lifted everything.
ASKS = 6
# Where the id of CloudFormation's order is kept beside the properties: an order handed in twice leaves its own orders once.
REQUEST = "RequestId"
KINDS_OF_ENTITY = {"Role": "PolicyRoles", "User": "PolicyUsers", "Group": "PolicyGroups"}


def attached(iam, policy):
    """Returns whom the deny policy is attached to, as (kind, name); nobody if it is not there."""
    found, marker = set(), {}
    while True:
        try:
            page = iam.list_entities_for_policy(PolicyArn=policy, **marker)
        except ClientError as error:
            if code(error) == "NoSuchEntity":
                return set()
            raise
        for kind, part in KINDS_OF_ENTITY.items():
            found.update((kind, one[f"{kind}Name"]) for one in page.get(part, []))
        if not page.get("IsTruncated"):
            return found
        marker = {"Marker": page["Marker"]}


def binding(table, order, actor, at, verb, text):
    """What the proof of an order's giver is bound to, as the ledger computes it."""
    parts = ["sluice.order/1", table, order, actor, at, verb, text]
    return hashlib.sha256("".join(f"{len(part.encode())}:{part}\n" for part in parts).encode()).hexdigest()


def prove(bound):
    """Signs a request to STS that says who this is, for one order alone; the ledger sends it."""
    session = boto3.Session()
    region = session.region_name
    host = f"sts.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    request = AWSRequest("POST", f"https://{host}/", data="Action=GetCallerIdentity&Version=2011-06-15",
                         headers={"content-type": kind, "x-sluice-order": bound})
    SigV4Auth(session.get_credentials().get_frozen_credentials(), "sts", region).add_auth(request)
    signed = {name.lower(): value for name, value in request.headers.items()}
    proof = {"authorization": signed["authorization"], "date": signed["x-amz-date"], "token": signed.get("x-amz-security-token")}
    return json.dumps({name: value for name, value in proof.items() if value})


def hand_in(own, verb, **more):
    """Leaves an order in the shared table, once however often CloudFormation hands in its own; returns its id, none if there is no table."""
    table, actor = own["Table"], client("sts").get_caller_identity()["Arn"]
    text = json.dumps({"verb": verb, **more, "actor": actor, "reason": f"{own['Stack']}: enforcement ends"}, separators=(",", ":"))
    order = f"{verb}-{hashlib.sha256(f'{text} {own[REQUEST]}'.encode()).hexdigest()[:32]}"
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    proof = prove(binding(table, order, actor, at, verb, text))
    body = json.dumps({"id": order, "actor": actor, "at": at, "verb": verb, "arguments": {"request": text, "proof": proof}})

    def put(kind):
        item = {"pk": {"S": kind}, "sk": {"S": order}, "body": {"S": body}, "rev": {"N": "1"}, "w": {"S": order}, "made": {"S": order}}
        return {"Put": {"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}

    try:
        client("dynamodb").transact_write_items(TransactItems=[put("command"), put("command-open")])
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            return None
        if code(error) != "TransactionCanceledException" or "ConditionalCheckFailed" not in str(error):
            raise
    return order


def end_all(own):
    """Leaves the orders: nothing new is pulled, everything is released."""
    return [hand_in(own, "set_stopped", stopped=True), hand_in(own, "release_all")]


def outcome(table, order):
    """Returns what the daemon answered; nothing while it has not."""
    key = {"pk": {"S": "command"}, "sk": {"S": order}}
    item = client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return json.loads(item["body"]["S"]).get("outcome") if item else None


def is_stopped(table):
    """Tells whether the kill switch is thrown, which the daemon asks before each pull."""
    key = {"pk": {"S": "meta"}, "sk": {"S": "stopped"}}
    try:
        item = client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            return False
        raise
    return bool(item) and json.loads(item["body"]["S"]) is True


def service(own):
    """Returns the service as it is; nothing if there is none any more."""
    if not own.get("Service"):
        return None
    try:
        found = client("ecs").describe_services(cluster=own["Cluster"], services=[own["Service"]])["services"]
    except ClientError as error:
        if code(error) == "ClusterNotFoundException":
            return None
        raise
    return found[0] if found and found[0]["status"] != "INACTIVE" else None


def scale(own, count):
    """Sets how many tasks the service wants; returns how many it wanted, none if there is no service."""
    found = service(own)
    if found and found["desiredCount"] != count:
        client("ecs").update_service(cluster=own["Cluster"], service=own["Service"], desiredCount=count)
    return found and found["desiredCount"]


def runs(own):
    found = service(own)
    return bool(found) and found["runningCount"] > 0


def by_daemon(own, iam, context):
    """Has the daemon lift everything; tells whether it answered and not one deny is left."""
    orders = end_all(own)
    if None in orders:
        return not attached(iam, own["Policy"])

    def answered():
        return all(outcome(own["Table"], order) for order in orders)

    if not until(context, REPLY, answered, pause=1):
        return False
    is_done = until(context, LIFT, lambda: not attached(iam, own["Policy"]), pause=2)
    if is_done and left_elsewhere(own, context):
        print("levers are left in other accounts: sluice lever list; the stacks of member accounts lift theirs when they are deleted")
    return is_done


def left_elsewhere(own, context):
    """Asks the daemon until no lever is left in any account; tells whether some are after all."""
    left = False
    for ask in range(ASKS):
        order = hand_in(own, "levers", ask=ask)
        answer = until(context, REPLY / ASKS, lambda: outcome(own["Table"], order), pause=1)
        left = bool(answer and json.loads(answer).get("levers"))
        if not left:
            break
        until(context, REPLY / ASKS, lambda: False, pause=5)
    return left


def by_hand(own, iam, context):
    """Stops the daemon, so that nothing is pulled again, and detaches the deny policy."""
    wanted = scale(own, 0)
    if wanted is not None and not until(context, STOP, lambda: not runs(own)):
        print("the service still runs; the deny policy is detached all the same")
    trouble = {}

    def left():
        for kind, name in attached(iam, own["Policy"]):
            try:
                getattr(iam, f"detach_{kind.lower()}_policy")(PolicyArn=own["Policy"], **{f"{kind}Name": name})
                print(f"detached from {kind} {name}")
            except ClientError as error:
                if code(error) != "NoSuchEntity":
                    trouble[kind, name] = str(error)
        return not attached(iam, own["Policy"])

    is_done = until(context, 60, left)
    if is_done and not own.get("Service"):
        # The daemon goes on elsewhere, and may have attached it once more as the role that went a moment ago.
        time.sleep(LINGER)
        is_done = until(context, 60, left)
    return wanted, None if is_done else {who: trouble.get(who, "it is still listed") for who in attached(iam, own["Policy"])}


def lift(own, event, context, restart):
    iam, own = client("iam"), {**own, REQUEST: event["RequestId"]}
    runs_now = runs(own)
    if runs_now and by_daemon(own, iam, context):
        return "lifted by the daemon"
    if not runs_now and own.get("Table"):
        # Nobody answers now; whoever reads this table while the proof is good finds that all is over.
        end_all(own)
    before = attached(iam, own["Policy"])
    if not before and own.get("Table") and is_stopped(own["Table"]):
        return "nobody is denied, and nobody will be: the switch is thrown"
    wanted, left = by_hand(own, iam, context)
    if restart and wanted:
        scale(own, wanted)
    if left:
        names = "; ".join(f"{kind} {name}: {why[:200]}" for (kind, name), why in sorted(left.items())[:5])
        kind, name = sorted(left)[0]
        command = f"aws iam detach-{kind.lower()}-policy --{kind.lower()}-name {name} --policy-arn {own['Policy']}"
        raise RuntimeError(f"{len(left)} still denied the use of Bedrock: {names}. Detach the policy, for example: {command}, then delete the "
                           "stack again")
    return f"lifted here from {len(before)}"


def release(event, context):
    own, before = event["ResourceProperties"], event.get("OldResourceProperties", {})
    if event["RequestType"] == "Delete":
        print(lift(own, event, context, restart=False))
    elif event["RequestType"] == "Update":
        if before.get("Policy", own["Policy"]) != own["Policy"]:
            # By now this function may no longer touch the old policy, and whoever has it would be left behind.
            raise RuntimeError("the name of the installation stays: delete this stack, which lifts every deny, and create one of the new name")
        if before.get("Agents", own.get("Agents")) != own.get("Agents"):
            stay_in_reach(own, before)
    return event.get("PhysicalResourceId") or "release", {}


def enforcement_switch(event, context):
    own, before = event["ResourceProperties"], event.get("OldResourceProperties", {})
    if event["RequestType"] == "Update" and before.get("Enabled") == "true":
        if own["Enabled"] != "true":
            print(lift(before, event, context, restart=True))
        elif own["Agents"] != before["Agents"]:
            stay_in_reach(own, before)
    return "enforcement", {"Enabled": own["Enabled"]}


def stay_in_reach(own, before):
    """Refuses a narrower path while somebody outside it is held: the enforcer could not give them their access back."""
    iam = client("iam")
    out = []
    for kind, name in sorted(attached(iam, before["Policy"]) if before.get("Policy") else []):
        one = getattr(iam, f"get_{kind.lower()}")(**{f"{kind}Name": name})[kind]
        if not fnmatch.fnmatchcase(f"{one['Path']}{name}", f"/{own['Agents']}*"):
            out.append(f"{kind.lower()} {name}")
    if out:
        raise RuntimeError(f"held, and out of reach of the new AgentRolePath: {', '.join(out)}. Release them first: sluice hold list, "
                           "sluice hold release ID")


KINDS = {"Release": release, "EnforcementSwitch": enforcement_switch}


def handler(event, context):
    return serve(KINDS, event, context)
