"""What the templates come to, for every combination of their choices. Run by run.sh."""

import functools
import itertools
import json
import re
import subprocess
import sys
import tomllib
import unittest

from render import TEMPLATES, Stack, many, read, statements

ROOT = TEMPLATES.parent.parent
CENTRAL, MEMBER = read("sluice.yaml"), read("member.yaml")
CHOICES = {
    "EnableEnforcement": ["false", "true"], "ManageLogging": ["false", "true"], "RemoveLoggingOnDelete": ["false", "true"], "Standby": ["false", "true"],
    "Workers": ["none", "lambda"], "StreamMode": ["PROVISIONED", "ON_DEMAND"], "CreateTrail": ["false", "true"], "TrailDataEvents": ["false", "true"],
    "KmsKeyArn": ["", "arn:aws:kms:us-east-1:123456789012:key/k"], "LogBucketName": ["", "bedrock-logs"], "MemberAccounts": ["", "210987654321,310987654321"],
    "OrganizationId": ["", "o-abcdefghij"], "LakeBucketName": ["", "my-lake"], "SharedTableName": ["", "my-table"], "VpcId": ["", "vpc-1"],
    "AlarmEmail": ["", "ops@example.com"], "ImageUri": ["", "registry/sluice:1"], "ArtifactBucket": ["", "artifacts"],
}  # fmt: skip
ENFORCEMENT = {"DenyPolicy", "EnforcerRole", "Release", "ReleasePermissions"}


def pairs(choices):
    """Yields parameters in which every two values of every two choices occur together."""
    names = list(choices)
    for one, other in itertools.combinations(names, 2):
        for values in itertools.product(choices[one], choices[other]):
            yield dict(zip((one, other), values))


def member(**parameters):
    return Stack(MEMBER, {"CentralAccountId": "999999999999", **parameters}, "member")


@functools.cache
def all_stacks():
    """Returns (what it is, the stack, its resources) of everything that is to hold whatever is chosen."""
    return [(what, stack, stack.resources()) for what, stack in choices()]


def choices():
    for parameters in pairs(CHOICES):
        yield f"sluice {parameters}", Stack(CENTRAL, parameters)
    for enforcement, logging, removal, central in itertools.product(["false", "true"], ["false", "true"], ["false", "true"], ["999999999999", "123456789012"]):
        yield f"member {enforcement} {logging} {removal} {central}", member(
            EnableEnforcement=enforcement, ManageLogging=logging, RemoveLoggingOnDelete=removal, CentralAccountId=central)  # fmt: skip


def writes_iam(action):
    """Tells whether an action changes something in IAM; PassRole, which a role needs to hand on another, is looked at by itself."""
    return action.startswith("iam:") and not re.match(r"iam:(Get|List|Simulate|PassRole$)", action) or action in ("*", "iam:Pass*")


class Rendering(unittest.TestCase):
    def test_every_reference_finds_something_whatever_is_chosen(self):
        for what, stack, resources in all_stacks():
            with self.subTest(what):
                stack.outputs()
                for name, one in resources.items():
                    missing = set(many(one.get("DependsOn", []))) - set(resources)
                    self.assertFalse(missing, f"{name} waits for them")
                self.assertFalse("NOTHING" in json.dumps(resources, default=lambda _: "NOTHING"))

    def test_both_are_what_their_sources_make(self):
        done = subprocess.run([sys.executable, TEMPLATES / "build.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_no_parameter_has_to_be_given(self):
        needed = {template: [name for name, one in template_["Parameters"].items() if "Default" not in one] for template, template_ in
                  [("sluice", CENTRAL), ("member", MEMBER)]}  # fmt: skip
        self.assertEqual(needed, {"sluice": [], "member": ["CentralAccountId"]})

    def test_each_parameter_is_described_and_in_one_group(self):
        for template in [CENTRAL, MEMBER]:
            groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
            self.assertEqual(sorted(name for group in groups for name in group["Parameters"]), sorted(template["Parameters"]))
            for name, parameter in template["Parameters"].items():
                self.assertTrue(parameter["Description"].endswith("."), name)

    def test_the_configuration_can_be_read_and_fits(self):
        for what, stack, resources in all_stacks():
            if not what.startswith("sluice"):
                continue
            with self.subTest(what):
                text = resources["Configuration"]["Properties"]["Value"]
                self.assertLess(len(text), 4096, "the most of a standard parameter")
                config = tomllib.loads(text)
                self.assertEqual(bool(config["enforce"]["levers"]), stack.holds("Enforces"))
                budgets = tomllib.loads(resources["FirstBudgets"]["Properties"]["Text"])["budget"]
                self.assertEqual([budget["mode"] for budget in budgets], ["enforce" if stack.holds("Enforces") else "observe"])
                self.assertEqual(config["include"], ["ssm:" + resources["FirstBudgets"]["Properties"]["Name"]])

    def test_the_health_check_asks_the_daemon_s_socket_and_nothing_else(self):
        for what, stack, resources in all_stacks():
            if what.startswith("sluice"):
                config = tomllib.loads(resources["Configuration"]["Properties"]["Value"])
                check = resources["Task"]["Properties"]["ContainerDefinitions"][0]["HealthCheck"]["Command"]
                self.assertEqual(check, ["CMD", "/usr/bin/sluice", "status", "--live", "--socket", config["control"]["socket"]], what)

    def test_a_queue_alone_is_read_where_there_is_no_bucket_of_logs(self):
        for name in ["", "bedrock-logs"]:
            text = Stack(CENTRAL, {"LogBucketName": name}).resources()["Configuration"]["Properties"]["Value"]
            [source] = [one for one in tomllib.loads(text)["source"] if one["kind"] == "s3"]
            self.assertEqual(source.get("paths"), [f"s3://{name}/"] if name else None)
            self.assertTrue(source["queues"])

    def test_alarms_have_a_section_each_in_the_runbook(self):
        alarms = {alarm["name"] for alarm in json.loads((TEMPLATES / "alarms.json").read_text())}
        made = {one["Properties"]["AlarmName"].removeprefix("sluice-") for one in Stack(CENTRAL, {"EnableEnforcement": "true"}).resources().values()
                if one["Type"].endswith("::Alarm")}  # fmt: skip
        self.assertEqual(alarms, made)
        runbook = ROOT / "docs/runbook.md"
        if runbook.exists():
            headings = {line.lstrip("# ").strip("` ") for line in runbook.read_text().splitlines() if line.startswith("#")}
            self.assertLessEqual(alarms, headings)

    def test_alarms_of_the_program_watch_metrics_it_exports(self):
        known = set(re.findall(r'metric\("(\w+)"', (ROOT / "src/operate/emf.rs").read_text())) | AGREED
        for alarm in json.loads((TEMPLATES / "alarms.json").read_text()):
            if "namespace" not in alarm and "query" not in alarm:
                self.assertLessEqual(set(alarm.get("most", [alarm.get("metric")])), known)


# Metrics that the program exports from the version on which these alarms were agreed.
AGREED = {"ConfigRefused", "OutboxAgeSeconds", "BreakerOpen", "LeversFailing"}


class WhatStays(unittest.TestCase):
    def test_data_outlives_the_stack_and_nothing_else_does(self):
        kept = {name for name, one in CENTRAL["Resources"].items() if one.get("DeletionPolicy", "Delete") != "Delete"}
        self.assertEqual(kept, {"LakeBucket", "LakeBucketPolicy", "SharedTable", "TrailBucket", "LogGroupKept", "LoggingRoleKept"})

    def test_what_the_daemon_needs_to_lift_goes_after_the_release(self):
        """The release comes before all it depends on, directly or through others."""
        resources, seen, todo = CENTRAL["Resources"], set(), ["Release"]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            one = resources[name]
            text = json.dumps(one)
            todo += [other for other in resources if re.search(rf'"Ref": "{other}"|"Fn::GetAtt": \["{other}"|\$\{{{other}[.}}]', text)]
            todo += many(one.get("DependsOn", []))
        needed = {"Service", "Task", "TaskRole", "EnforcerRole", "DenyPolicy", "SharedTable", "ReleasePolicy", "ReleasePermissions", "Configuration", "Out",
                  "GatewayAttachment", "RoutesOfA", "RoutesOfB", "EndpointDynamo", "EndpointS3", "Wall", "Breaches", "Stream", "Events", "FlagsTable",
                  "ReleaseFunction", "EnforcementSwitch"}  # fmt: skip
        self.assertLessEqual(needed, seen)

    def test_the_switch_acts_before_anything_of_enforcement_changes(self):
        for name in ["Configuration", "Task", "TaskRole"]:
            self.assertIn("EnforcementSwitch", many(CENTRAL["Resources"][name]["DependsOn"]))

    def test_in_a_member_account_nobody_can_deny_while_the_release_lifts(self):
        self.assertEqual(MEMBER["Resources"]["EnforcerRole"]["DependsOn"], "Release")


class LeastPrivilege(unittest.TestCase):
    def test_without_enforcement_there_is_no_permission_to_change_iam(self):
        for what, stack, resources in all_stacks():
            if stack.holds("Enforces"):
                continue
            with self.subTest(what):
                self.assertFalse(ENFORCEMENT & set(resources))
                for name, _, statement in statements(resources):
                    bad = [action for action in many(statement["Action"]) if statement["Effect"] == "Allow" and writes_iam(action)]
                    self.assertEqual(bad, [], name)
                assumed = [resource for _, _, one in statements(resources) if "sts:AssumeRole" in many(one["Action"]) for resource in many(one["Resource"])]
                self.assertFalse([role for role in assumed if "enforcer" in role])

    def test_with_it_only_the_one_policy_can_be_attached_and_only_on_the_path(self):
        for stack in [Stack(CENTRAL, {"EnableEnforcement": "true"}), member(EnableEnforcement="true")]:
            writers = {}
            for name, _, statement in statements(stack.resources()):
                actions = [action for action in many(statement["Action"]) if writes_iam(action)]
                if statement["Effect"] == "Allow" and actions:
                    writers.setdefault(name, []).append((actions, statement))
            self.assertEqual(set(writers), {"EnforcerRole", "ReleasePermissions"})
            for name, entries in writers.items():
                for actions, statement in entries:
                    self.assertEqual(list(statement["Condition"]["ArnEquals"]), ["iam:PolicyARN"], "that policy and no other")
                    verbs = "(Attach|Detach)(Role|User)Policy" if name == "EnforcerRole" else "Detach(Group|Role|User)Policy"
                    self.assertTrue(all(re.fullmatch(f"iam:{verbs}", action) for action in actions), actions)
                    if name == "EnforcerRole":
                        self.assertTrue(all(re.search(r":(role|user)/agents/\*$", resource) for resource in statement["Resource"]))

    def test_the_ingest_role_cannot_touch_iam(self):
        for what, stack, resources in all_stacks():
            for name, _, statement in statements(resources):
                if name in ("TaskRole", "WorkerRole", "StartRole"):
                    for action in many(statement["Action"]):
                        self.assertFalse(writes_iam(action) or action == "iam:PassRole", f"{what}: {name} {action}")

    def test_the_ingest_role_keeps_the_entries_of_its_own_database_alone(self):
        published = json.loads((ROOT / "deploy/iam/glue-sync.json").read_text())["Statement"][0]
        for database in ["sluice", "finops"]:
            resources = Stack(CENTRAL, {"GlueDatabase": database}).resources()
            [grant] = [one for name, _, one in statements(resources) if name == "TaskRole" and many(one["Action"])[0].startswith("glue:")]
            self.assertEqual(sorted(grant["Action"]), sorted(published["Action"]))
            kinds = [resource.split(":", 5)[5] for resource in grant["Resource"]]
            self.assertEqual(kinds, ["catalog", f"database/{database}", f"table/{database}/*"])
            config = tomllib.loads(resources["Configuration"]["Properties"]["Value"])
            self.assertEqual((config["lake"]["glue_database"], config["lake"]["glue_region"]), (database, "us-east-1"))

    def test_each_role_is_passed_to_one_service(self):
        for what, stack, resources in all_stacks():
            for name, _, statement in statements(resources):
                if statement["Effect"] == "Allow" and "iam:PassRole" in many(statement["Action"]):
                    self.assertRegex(statement["Resource"], r"^<(Delivery|Logging)Role(Kept)?\.Arn>$", f"{what}: {name}")
                    self.assertIn(statement["Condition"]["StringEquals"]["iam:PassedToService"], ("logs.amazonaws.com", "bedrock.amazonaws.com"))

    def test_only_the_task_takes_on_the_enforcer(self):
        role = Stack(CENTRAL, {"EnableEnforcement": "true"}).resources()["EnforcerRole"]["Properties"]["AssumeRolePolicyDocument"]
        self.assertEqual([one["Principal"] for one in role["Statement"]], [{"AWS": "<TaskRole.Arn>"}])
        role = member(EnableEnforcement="true").resources()["EnforcerRole"]["Properties"]["AssumeRolePolicyDocument"]
        [statement] = role["Statement"]
        self.assertEqual(statement["Condition"], {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::999999999999:role/sluice-ingest"},
                                                  "StringEquals": {"sts:ExternalId": "sluice-999999999999-sluice"}})  # fmt: skip

    def test_members_and_the_configuration_agree_on_names(self):
        config = tomllib.loads(Stack(CENTRAL, {"EnableEnforcement": "true"}, account="999999999999").resources()["Configuration"]["Properties"]["Value"])
        there = member(EnableEnforcement="true").resources()
        for key, resource, name in [("role_arn", "EnforcerRole", "RoleName"), ("deny_policy_arn", "DenyPolicy", "ManagedPolicyName")]:
            self.assertEqual(config["enforce"][key].rsplit("/", 1)[1], there[resource]["Properties"][name])
        trust = there["EnforcerRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
        self.assertEqual(config["enforce"]["external_id"], trust["Condition"]["StringEquals"]["sts:ExternalId"])

    def test_services_say_on_whose_behalf(self):
        """A service that acts for any customer may do so for this account alone, where it tells."""
        for what, stack, resources in all_stacks():
            for name, one in resources.items():
                if one["Type"] != "AWS::IAM::Role":
                    continue
                for statement in one["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                    service = statement["Principal"].get("Service")
                    self.assertTrue(service in (None, "lambda.amazonaws.com") or "Condition" in statement, f"{what}: {name}")

    def test_the_deny_policy_is_the_published_one(self):
        published = json.loads((ROOT / "deploy/iam/deny-bedrock.json").read_text())
        self.assertEqual(Stack(CENTRAL, {"EnableEnforcement": "true"}).resources()["DenyPolicy"]["Properties"]["PolicyDocument"], published)

    def test_data_is_encrypted_and_private_whatever_is_chosen(self):
        for what, stack, resources in all_stacks():
            for name, one in resources.items():
                properties = one.get("Properties", {})
                with self.subTest(f"{what}: {name}"):
                    match one["Type"]:
                        case "AWS::S3::Bucket":
                            self.assertEqual(set(properties["PublicAccessBlockConfiguration"].values()), {True})
                            self.assertTrue(properties["BucketEncryption"])
                        case "AWS::Kinesis::Stream":
                            self.assertEqual(properties["StreamEncryption"]["EncryptionType"], "KMS")
                        case "AWS::SQS::Queue":
                            self.assertTrue(properties.get("SqsManagedSseEnabled") or properties.get("KmsMasterKeyId"))


if __name__ == "__main__":
    unittest.main()
