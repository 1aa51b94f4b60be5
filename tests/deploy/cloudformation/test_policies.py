"""Every policy of the templates and of deploy/iam: that its actions and resources exist and fit, and what linters of policies find.

policy_sentry knows the actions of IAM and what they act on; parliament looks for faults. Each exception stands below with its reason.
"""

import functools
import json
import re
import unittest

import parliament
from policy_sentry.querying.actions import get_action_data
from policy_sentry.querying.all import get_all_actions
from render import ACCOUNT, REGION, TEMPLATES, Stack, many, read, statements

IAM = TEMPLATES.parent / "iam"
# Actions of services younger than the data: in the API, not in the lists of the linters.
YOUNGER = {"bedrock-agentcore:ListHarnesses", "bedrock-agentcore:GetHarness", "bedrock-agentcore:ListRegistries",
           "bedrock-agentcore:ListRegistryRecords", "bedrock-agentcore:GetRegistryRecord"}
# Resource "*" although the action knows resources: why.
ANYWHERE = {
    "bedrock:GetAgent": "lists of agents name ids that nobody knows before",
    "bedrock:GetFlow": "as GetAgent",
    "bedrock:GetKnowledgeBase": "as GetAgent",
    "bedrock:ListAgents": "",
    "bedrock-agentcore:GetGateway": "as GetAgent",
    "bedrock-agentcore:GetAgentRuntime": "as GetAgent",
    "bedrock-agentcore:ListTagsForResource": "as GetAgent",
    "cloudtrail:GetEventSelectors": "whose trail it is, is what the look is for",
    "cloudtrail:GetTrailStatus": "whose trail it is, is what the look is for",
}
# Policies that look at whatever there is: each of their actions only reads.
LOOKS = {"doctor.json"}
# What parliament finds although it is meant: why.
MEANT = {
    "RESOURCE_STAR": "held against policy_sentry above, action by action",
    "UNKNOWN_ACTION": "held against policy_sentry above; parliament's list is older",
    "UNKNOWN_PREFIX": "as UNKNOWN_ACTION",
    "UNKNOWN_CONDITION_FOR_ACTION": "as UNKNOWN_ACTION",
    "RESOURCE_MISMATCH": "held against policy_sentry above; parliament knows fewer resources",
    "INVALID_ARN": "policies of AWS have no account; held against policy_sentry above",
}


def policies():
    """Yields (name, document) of every policy there is."""
    for template, parameters in [
        ("sluice.yaml", {"EnableEnforcement": "true", "ManageLogging": "true", "Workers": "lambda", "LogBucketName": "bedrock-logs", "MemberAccounts": "210987654321"}),
        ("sluice.yaml", {}),
        ("member.yaml", {"CentralAccountId": "999999999999", "EnableEnforcement": "true", "ManageLogging": "true", "RemoveLoggingOnDelete": "true"}),
        ("member.yaml", {"CentralAccountId": ACCOUNT}),
    ]:
        template_ = read(template)
        stack = Stack(template_, parameters)
        for name in stack.there():
            stack.known[name] = f"known-{name}"
            stack.attributes[name, "Arn"] = arn(template_["Resources"][name]["Type"], name)
        stack.known.update({name: stack.attributes[name, "Arn"] for name in ("DenyPolicy", "Breaches", "Alarms") if name in stack.there()})
        grouped = {}
        for resource, policy, statement in statements(stack.resources()):
            grouped.setdefault((resource, policy), []).append(statement)
        for (resource, policy), found in grouped.items():
            yield f"{template} {resource} {policy}", {"Version": "2012-10-17", "Statement": found}
    for path in [*sorted(IAM.glob("*.json")), IAM.parent / "directory-policy.json"]:
        if path.name != "enforcer-trust.json":
            text = path.read_text()
            for variable, value in {"AccountId": ACCOUNT, "AgentPath": "agents/", "Region": REGION}.items():
                text = text.replace("${" + variable + "}", value)
            yield path.name, json.loads(re.sub(r"\$\{(\w+)\}", r"\1", text))


def arn(kind, name):
    formats = {"AWS::Kinesis::Stream": "kinesis:{r}:{a}:stream/{n}", "AWS::DynamoDB::Table": "dynamodb:{r}:{a}:table/{n}", "AWS::IAM::Role": "iam::{a}:role/{n}",
               "AWS::IAM::ManagedPolicy": "iam::{a}:policy/{n}", "AWS::SQS::Queue": "sqs:{r}:{a}:{n}", "AWS::SNS::Topic": "sns:{r}:{a}:{n}",
               "AWS::Logs::LogGroup": "logs:{r}:{a}:log-group:{n}:*", "AWS::S3::Bucket": "s3:::{n}"}  # fmt: skip
    return "arn:aws:" + formats.get(kind, "x:{r}:{a}:{n}").format(r=REGION, a=ACCOUNT, n=name)


def expanded(action):
    """Returns the actions that one with wildcards stands for."""
    if "*" not in action:
        return [action]
    pattern = re.compile(re.escape(action).replace(r"\*", ".*"), re.IGNORECASE)
    return [one for one in get_all_actions() if pattern.fullmatch(one)]


def fits(resource, format_):
    """Tells whether the ARN of a policy can be that of a resource type: a wildcard on either side stands for anything."""
    ours, theirs = re.sub(r"[*?]+", "*", resource), re.sub(r"\$\{[^}]+\}", "*", format_)

    @functools.cache
    def meet(one, other):
        if one == other:
            return True
        for left, right in [(one, other), (other, one)]:
            if left.startswith("*"):
                return any(meet(left[1:], right[cut:]) for cut in range(len(right) + 1))
        return bool(one and other) and one[0] == other[0] and meet(one[1:], other[1:])

    return all(map(meet, ours.split(":", 5), theirs.split(":", 5)))


class Policies(unittest.TestCase):
    def test_actions_exist_and_act_on_what_is_named(self):
        for name, document in policies():
            for statement in document["Statement"]:
                for written in many(statement.get("Action", statement.get("NotAction"))):
                    actions = [action for action in expanded(written) if action not in YOUNGER]
                    self.assertTrue(actions or written in YOUNGER, f"{name}: there is no action {written}")
                    for action in actions:
                        with self.subTest(f"{name}: {action}"):
                            self.check(action, statement, name in LOOKS)

    def check(self, action, statement, looks):
        service, word = action.split(":")
        known = get_action_data(service, word)
        self.assertTrue(known, "there is no such action")
        if statement["Effect"] != "Allow" or "Resource" not in statement or "NotAction" in statement:
            return
        formats = {one["resource_arn_format"] for one in known[service]}
        if looks:
            self.assertLessEqual({one["access_level"] for one in known[service]}, {"Read", "List"})
            formats.add("*")
        for resource in many(statement["Resource"]):
            if resource == "*":
                self.assertTrue("*" in formats or action in ANYWHERE, f"acts on any of {formats}, and no reason stands in ANYWHERE")
        named = [resource for resource in many(statement["Resource"]) if resource != "*"]
        if named:
            self.assertTrue(any(fits(resource, format_) for resource in named for format_ in formats - {"*"}), f"acts on {formats}, not on {named}")

    def test_what_parliament_finds_is_meant(self):
        for name, document in policies():
            policy = parliament.analyze_policy_string(json.dumps(document))
            found = [(one.issue, str(one.detail)[:200]) for one in policy.findings if one.issue not in MEANT]
            self.assertEqual(found, [], name)

    def test_no_wildcard_allows_writing(self):
        for name, document in policies():
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow" and "Action" in statement:
                    wild = [action for action in many(statement["Action"]) if "*" in action]
                    self.assertEqual(wild, [], name)


if __name__ == "__main__":
    unittest.main()
