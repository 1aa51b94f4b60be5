"""The handlers of custom resources, as they stand in the template, against services that do what each case needs.

Each case is an order as CloudFormation hands it in. Run by run.sh.
"""

import http.server
import json
import os
import threading
import types
import unittest
from unittest import mock

from botocore.exceptions import ClientError
from render import read

os.environ.update(AWS_DEFAULT_REGION="us-east-1", AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
TEMPLATE = read("sluice.yaml")
POLICY = "arn:aws:iam::123456789012:policy/sluice-deny-bedrock"
HELD = {"Policy": POLICY, "Stack": "sluice", "Table": "sluice-shared", "Cluster": "sluice", "Service": "sluice"}


def module(function):
    """The code that a function of the template has."""
    made = types.ModuleType(function)
    exec(compile(TEMPLATE["Resources"][function]["Properties"]["Code"]["ZipFile"], f"{function}/index.py", "exec"), made.__dict__)
    return made


def refused(code, message=""):
    return ClientError({"Error": {"Code": code, "Message": message or f"{code} of the test"}}, "Call")


class Context:
    """A function with time left; the clock of the test moves when somebody sleeps."""

    def __init__(self, seconds=900):
        self.now, self.seconds = 0.0, seconds

    def get_remaining_time_in_millis(self):
        return int(1000 * (self.seconds - self.now))


class Case(unittest.TestCase):
    function = ""

    def setUp(self):
        self.index, self.context, self.clients = module(self.function), Context(), {}
        for patch in [
            mock.patch.object(self.index.time, "sleep", self.sleep),
            mock.patch.object(self.index.time, "monotonic", lambda: self.context.now),
            mock.patch.object(self.index, "client", lambda name: self.clients.setdefault(name, mock.MagicMock())),
            mock.patch("builtins.print"),
        ]:
            patch.start()
            self.addCleanup(patch.stop)

    def sleep(self, seconds):
        self.context.now += seconds

    def service(self, name):
        return self.clients.setdefault(name, mock.MagicMock())

    def order(self, verb, kind, properties, physical=None, **more):
        event = {"RequestType": verb, "ResourceType": f"Custom::{kind}", "LogicalResourceId": kind, "RequestId": "r", "StackId": "s",
                 "ResourceProperties": properties, **({"PhysicalResourceId": physical} if physical else {}), **more}  # fmt: skip
        answer = self.index.handler(event, self.context)
        return answer

    def fails(self, *words, **more):
        with self.assertRaises(Exception) as caught:
            self.order(*words, **more)
        return str(caught.exception)


class Logging(Case):
    function = "Setup"
    properties = {"Manage": "false", "RemoveOnDelete": "false", "LogGroup": "", "RoleArn": ""}
    managed = {"Manage": "true", "RemoveOnDelete": "true", "LogGroup": "made", "RoleArn": "role"}

    def found(self, configuration):
        answer = {"loggingConfig": configuration} if configuration else {}
        self.service("bedrock").get_model_invocation_logging_configuration.return_value = answer

    def own(self, **more):
        return {"cloudWatchConfig": {"logGroupName": "made", "roleArn": "role"}, **dict.fromkeys(self.index.BODIES, False), **more}

    def test_a_configuration_that_is_there_is_never_changed(self):
        self.found({"cloudWatchConfig": {"logGroupName": "theirs", "roleArn": "r"}, "textDataDeliveryEnabled": True})
        for properties in [self.properties, self.managed]:
            data = self.order("Create", "Logging", properties)["Data"]
            self.assertEqual((data["State"], data["LogGroup"], data["Distribution"]), ("on", "theirs", "Random"))
            self.order("Update", "Logging", properties, "model-invocation-logging")
            self.order("Delete", "Logging", properties, "model-invocation-logging")
        bedrock = self.service("bedrock")
        bedrock.put_model_invocation_logging_configuration.assert_not_called()
        bedrock.delete_model_invocation_logging_configuration.assert_not_called()

    def test_without_one_the_stack_comes_up_and_says_so(self):
        self.found(None)
        data = self.order("Create", "Logging", self.properties)["Data"]
        self.assertEqual((data["State"], data["LogGroup"]), ("off", ""))
        self.assertIn("INVOCATION LOGGING IS OFF", data["Told"])
        self.assertIn("ManageLogging=true", data["Told"])

    def test_one_is_made_without_texts_once_the_role_is_seen(self):
        self.found(None)
        put = self.service("bedrock").put_model_invocation_logging_configuration
        put.side_effect = [refused("ValidationException"), refused("ValidationException"), {}]
        data = self.order("Create", "Logging", self.managed)["Data"]
        self.assertEqual((data["State"], data["LogGroup"], data["Distribution"]), ("on", "made", "ByLogStream"))
        wanted = put.call_args.kwargs["loggingConfig"]
        self.assertEqual({wanted[body] for body in self.index.BODIES}, {False})

    def test_one_that_cannot_be_made_is_a_failure_with_its_reason(self):
        self.found(None)
        self.service("bedrock").put_model_invocation_logging_configuration.side_effect = refused("ValidationException")
        self.assertIn("ValidationException of the test", self.fails("Create", "Logging", self.managed))

    def test_a_log_in_s3_alone_is_told(self):
        self.found({"s3Config": {"bucketName": "logs"}, "textDataDeliveryEnabled": False})
        data = self.order("Create", "Logging", self.properties)["Data"]
        self.assertEqual((data["State"], data["LogGroup"]), ("s3-only", ""))
        self.assertIn("LogBucketName=logs", data["Told"])

    def test_only_ones_own_is_removed_and_by_choice(self):
        remove = self.service("bedrock").delete_model_invocation_logging_configuration
        for configuration, properties, times in [
            (self.own(), {**self.managed, "RemoveOnDelete": "false"}, 0),
            (self.own(textDataDeliveryEnabled=True), self.managed, 0),
            (self.own(s3Config={"bucketName": "b"}), self.managed, 0),
            (None, self.managed, 0),
            (self.own(), self.managed, 1),
        ]:
            self.found(configuration)
            self.order("Delete", "Logging", properties, "model-invocation-logging")
            self.assertEqual(remove.call_count, times, configuration)

    def test_a_second_delivery_finds_what_the_first_made(self):
        self.found(self.own())
        data = self.order("Create", "Logging", self.managed)["Data"]
        self.assertIn("made by this stack", data["Told"])
        self.service("bedrock").put_model_invocation_logging_configuration.assert_not_called()


class Subscription(Case):
    function = "Setup"
    properties = {"Name": "sluice", "LogGroup": "g", "Distribution": "ByLogStream", "Destination": "stream", "RoleArn": "role"}

    def there(self, *names):
        self.service("logs").describe_subscription_filters.return_value = {"subscriptionFilters": [{"filterName": name} for name in names]}

    def test_beside_another_one(self):
        self.there("theirs")
        answer = self.order("Create", "Subscription", self.properties)
        self.assertEqual((answer["Data"]["State"], answer["PhysicalResourceId"]), ("on", "g|sluice"))

    def test_two_that_are_there_are_told_and_not_touched(self):
        self.there("one", "two")
        answer = self.order("Create", "Subscription", self.properties)
        self.assertEqual((answer["Data"]["State"], answer["PhysicalResourceId"]), ("full", "|sluice"))
        self.assertIn("LogBucketName", answer["Data"]["Told"])
        self.service("logs").put_subscription_filter.assert_not_called()
        self.order("Delete", "Subscription", self.properties, answer["PhysicalResourceId"])
        self.service("logs").delete_subscription_filter.assert_not_called()

    def test_two_of_which_one_is_ours_is_an_update(self):
        self.there("one", "sluice")
        self.assertEqual(self.order("Update", "Subscription", {**self.properties, "Distribution": "Random"}, "g|sluice")["Data"]["State"], "on")
        self.assertEqual(self.service("logs").put_subscription_filter.call_args.kwargs["distribution"], "Random")

    def test_the_limit_met_in_a_race(self):
        self.there("one")
        self.service("logs").put_subscription_filter.side_effect = refused("LimitExceededException")
        self.assertEqual(self.order("Create", "Subscription", self.properties)["Data"]["State"], "full")

    def test_a_group_that_vanished(self):
        self.service("logs").describe_subscription_filters.side_effect = refused("ResourceNotFoundException")
        self.assertEqual(self.order("Create", "Subscription", self.properties)["Data"]["State"], "no-group")
        self.service("logs").delete_subscription_filter.side_effect = refused("ResourceNotFoundException")
        self.assertEqual(self.order("Delete", "Subscription", self.properties, "g|sluice")["Status"], "SUCCESS")

    def test_no_group_at_all(self):
        self.assertEqual(self.order("Create", "Subscription", {**self.properties, "LogGroup": ""})["Data"]["State"], "none")

    def test_a_role_that_is_not_seen_yet(self):
        self.there()
        self.service("logs").put_subscription_filter.side_effect = [refused("InvalidParameterException")] * 5 + [{}]
        self.assertEqual(self.order("Create", "Subscription", self.properties)["Data"]["State"], "on")
        self.service("logs").put_subscription_filter.side_effect = refused("InvalidParameterException")
        self.assertIn("InvalidParameter", self.fails("Create", "Subscription", self.properties))

    def test_a_delete_of_what_was_never_created(self):
        self.assertEqual(self.order("Delete", "Subscription", self.properties, "none")["Status"], "SUCCESS")
        self.service("logs").delete_subscription_filter.assert_not_called()

    def test_another_group_is_another_resource(self):
        self.there()
        answer = self.order("Update", "Subscription", {**self.properties, "LogGroup": "new"}, "g|sluice")
        self.assertEqual(answer["PhysicalResourceId"], "new|sluice")
        # CloudFormation deletes the one before, whose properties it no longer hands in.
        self.order("Delete", "Subscription", {**self.properties, "LogGroup": "new"}, "g|sluice")
        self.assertEqual(self.service("logs").delete_subscription_filter.call_args.kwargs["logGroupName"], "g")


class Trail(Case):
    function = "Setup"
    properties = {"Region": "us-east-1", "Account": "123456789012", "Made": "none"}

    def told(self, selectors, logs=True, **trail):
        cloudtrail = self.service("cloudtrail")
        found = {"Name": "t", "TrailARN": "arn", "S3BucketName": "b", "HomeRegion": "us-east-1", "IsMultiRegionTrail": False, **trail}
        cloudtrail.describe_trails.return_value = {"trailList": [found]}
        cloudtrail.get_trail_status.return_value = {"IsLogging": logs}
        cloudtrail.get_event_selectors.side_effect = selectors if isinstance(selectors, Exception) else None
        cloudtrail.get_event_selectors.return_value = selectors
        return self.order("Create", "Trail", self.properties)["Data"]

    def test_what_logs_reads_is_found(self):
        basic = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]}
        self.assertEqual(self.told(basic)["Replay"], "s3://b/AWSLogs/123456789012/CloudTrail/us-east-1/")
        self.assertEqual(self.told(basic, IsOrganizationTrail=True, S3KeyPrefix="p")["Replay"], "s3://b/p/AWSLogs/")
        advanced = {"AdvancedEventSelectors": [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}]}
        self.assertEqual(self.told(advanced)["State"], "on")
        self.assertEqual(self.told(refused("AccessDeniedException"))["State"], "on", "an organization's trail is not for members to look at")

    def test_what_does_not_is_not(self):
        writes = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "WriteOnly"}]}
        fields = [{"Field": "eventCategory", "Equals": ["Management"]}, {"Field": "readOnly", "Equals": ["false"]}]
        good = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]}
        self.assertEqual(self.told(writes)["State"], "off")
        self.assertEqual(self.told({"AdvancedEventSelectors": [{"FieldSelectors": fields}]})["State"], "off")
        self.assertEqual(self.told(good, logs=False)["State"], "off")
        self.assertEqual(self.told(good, HomeRegion="eu-west-1")["State"], "off")
        self.assertIn("CreateTrail=true", self.told(writes)["Told"])


class Seed(Case):
    function = "Setup"
    properties = {"Name": "/sluice/budgets", "Text": "seed", "Description": "d"}

    def test_what_is_there_is_left(self):
        self.service("ssm").put_parameter.side_effect = refused("ParameterAlreadyExists")
        self.assertEqual(self.order("Create", "Seed", self.properties)["PhysicalResourceId"], "/sluice/budgets")
        self.assertFalse(self.service("ssm").put_parameter.call_args.kwargs["Overwrite"])

    def test_only_what_nobody_changed_is_deleted(self):
        ssm = self.service("ssm")
        ssm.get_parameter.return_value = {"Parameter": {"Value": "theirs"}}
        self.order("Delete", "Seed", self.properties, "/sluice/budgets")
        ssm.delete_parameter.assert_not_called()
        ssm.get_parameter.return_value = {"Parameter": {"Value": "seed"}}
        self.order("Delete", "Seed", self.properties, "/sluice/budgets")
        ssm.delete_parameter.assert_called_once()
        ssm.get_parameter.side_effect = refused("ParameterNotFound")
        self.assertEqual(self.order("Delete", "Seed", self.properties, "/sluice/budgets")["Status"], "SUCCESS")


class Release(Case):
    function = "ReleaseFunction"

    def setUp(self):
        super().setUp()
        keys = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
                "AWS_DEFAULT_REGION": "eu-central-1"}
        patch = mock.patch.dict("os.environ", keys)
        patch.start()
        self.addCleanup(patch.stop)
        self.attached, self.tasks, self.wanted, self.daemon, self.items = {"alpha"}, 1, 1, "lifts", {}
        self.is_stopped, self.elsewhere = False, []
        iam, ecs, dynamo = self.service("iam"), self.service("ecs"), self.service("dynamodb")
        self.service("sts").get_caller_identity.return_value = {"Arn": "arn:aws:sts::123456789012:assumed-role/release/release"}
        iam.list_entities_for_policy.side_effect = lambda **_: {"PolicyRoles": [{"RoleName": name} for name in sorted(self.attached)], "IsTruncated": False}
        iam.detach_role_policy.side_effect = lambda PolicyArn, RoleName: self.attached.discard(RoleName)
        ecs.describe_services.side_effect = lambda **_: {"services": [{"status": "ACTIVE", "desiredCount": self.wanted, "runningCount": self.tasks}]}
        ecs.update_service.side_effect = self.scale
        dynamo.transact_write_items.side_effect = self.write
        dynamo.get_item.side_effect = self.read

    def scale(self, desiredCount, **_):
        self.wanted = self.tasks = desiredCount

    def write(self, TransactItems):
        keys = [(one["Put"]["Item"]["pk"]["S"], one["Put"]["Item"]["sk"]["S"]) for one in TransactItems]
        if any(key in self.items for key in keys):
            raise refused("TransactionCanceledException", "[ConditionalCheckFailed, ConditionalCheckFailed]")
        self.items.update({key: one["Put"]["Item"] for key, one in zip(keys, TransactItems)})

    def read(self, Key, **_):
        """The daemon, for which reading an order is carrying it out."""
        if Key["pk"]["S"] == "meta":
            return {"Item": {"body": {"S": json.dumps(self.is_stopped)}}}
        body = json.loads(self.items[Key["pk"]["S"], Key["sk"]["S"]]["body"]["S"])
        if self.daemon in ("lifts", "answers"):
            body["outcome"] = "{}"
            if body["verb"] == "release_all" and self.daemon == "lifts":
                self.attached.clear()
            if body["verb"] == "levers":
                body["outcome"] = json.dumps({"levers": self.elsewhere[:1]})
                self.elsewhere = self.elsewhere[1:]
        return {"Item": {"body": {"S": json.dumps(body)}}}

    def orders(self):
        return [json.loads(item["body"]["S"]) for (kind, _), item in self.items.items() if kind == "command-open"]

    def delete(self, **more):
        return self.order("Delete", "Release", {**HELD, **more}, "release")

    def test_the_daemon_lifts(self):
        self.assertEqual(self.delete()["Status"], "SUCCESS")
        self.assertEqual([order["verb"] for order in self.orders()], ["set_stopped", "release_all", "levers"])
        stop = json.loads(self.orders()[0]["arguments"]["request"])
        self.assertEqual((stop["verb"], stop["stopped"], stop["actor"]), ("set_stopped", True, self.orders()[0]["actor"]))
        self.service("iam").detach_role_policy.assert_not_called()
        self.service("ecs").update_service.assert_not_called()

    def test_each_order_carries_a_proof_that_is_bound_to_it(self):
        # The same parts come to the same digest in enforce/src/proof/tests.rs.
        bound = self.index.binding("sluice", "release-0a", "arn:aws:iam::123456789012:user/ann", "2026-10-01T00:00:00Z", "release",
                                   '{"verb":"release","id":"0a"}')
        self.assertEqual(bound, "491fe7f8b2a77615dcf5fcdb13bb853d80c9375af7bfc5ef21130f2931a1118d")
        self.delete()
        proofs = [json.loads(order["arguments"]["proof"]) for order in self.orders()]
        self.assertGreaterEqual(len(proofs), 2)
        self.assertEqual(len({proof["authorization"] for proof in proofs}), len(proofs), "no two orders share a signature")
        for proof in proofs:
            self.assertEqual((set(proof), proof["token"]), ({"authorization", "date", "token"}, "token"))
            form = (r"AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/[0-9]{8}/eu-central-1/sts/aws4_request, "
                    r"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-sluice-order, Signature=[0-9a-f]{64}")
            self.assertRegex(proof["authorization"], f"^{form}$")
            self.assertRegex(proof["date"], "^[0-9]{8}T[0-9]{6}Z$")

    def test_a_daemon_that_does_not_answer_is_stopped(self):
        self.daemon = "silent"
        self.delete()
        self.assertEqual((self.wanted, self.attached), (0, set()))
        self.assertLess(self.context.now, 300, "and not for the time that lifting may take")

    def test_where_nobody_is_held_and_nobody_can_be_the_service_is_left_alone(self):
        self.daemon, self.attached, self.is_stopped = "silent", set(), True
        self.delete()
        self.assertEqual(self.wanted, 1, "of an update that switched enforcement off, the service goes on")

    def test_what_the_daemon_does_not_lift_is_lifted_here(self):
        self.daemon, self.attached = "answers", {"alpha", "by-hand"}
        self.delete()
        self.assertEqual((self.wanted, self.attached), (0, set()))
        self.assertLess(self.context.now, 880, "before the function's time is over")

    def test_no_daemon_runs(self):
        self.tasks = 0
        self.delete()
        self.assertEqual(self.attached, set())
        self.assertEqual(len(self.orders()), 2, "whoever reads the table next finds that all is over")
        self.assertLess(self.context.now, 30)

    def test_who_cannot_be_let_go_is_named_and_the_stack_stays(self):
        self.tasks = 0
        self.service("iam").detach_role_policy.side_effect = refused("UnmodifiableEntity")
        reason = self.fails("Delete", "Release", HELD, physical="release")
        self.assertIn("Role alpha", reason)
        self.assertIn(f"aws iam detach-role-policy --role-name alpha --policy-arn {POLICY}", reason)

    def test_delivered_twice(self):
        self.delete()
        self.delete()
        self.assertEqual(len(self.orders()), 3)

    def test_a_later_order_is_another_one(self):
        self.delete()
        self.order("Delete", "Release", HELD, "release", RequestId="later")
        self.assertEqual(len(self.orders()), 6)

    def test_delete_without_create(self):
        self.service("iam").list_entities_for_policy.side_effect = refused("NoSuchEntity")
        self.service("ecs").describe_services.side_effect = refused("ClusterNotFoundException")
        self.service("dynamodb").transact_write_items.side_effect = refused("ResourceNotFoundException")
        self.assertEqual(self.order("Delete", "Release", HELD, "none")["Status"], "SUCCESS")

    def test_a_member_account_has_no_daemon(self):
        self.assertEqual(self.order("Delete", "Release", {"Policy": POLICY, "Stack": "member"}, "release")["Status"], "SUCCESS")
        self.assertEqual((self.attached, self.orders()), (set(), []))
        self.service("ecs").describe_services.assert_not_called()

    def test_what_is_attached_again_as_the_role_that_went_is_lifted_too(self):
        detach = self.service("iam").detach_role_policy.side_effect

        def once_more(**who):
            detach(**who)
            if self.context.now < 10:
                self.again = who["RoleName"]

        def sleep(seconds):
            self.context.now += seconds
            if getattr(self, "again", None):
                self.attached.add(self.again)
                self.again = None

        self.service("iam").detach_role_policy.side_effect = once_more
        with mock.patch.object(self.index.time, "sleep", sleep):
            self.order("Delete", "Release", {"Policy": POLICY, "Stack": "member"}, "release")
        self.assertEqual(self.attached, set())
        self.assertEqual(self.service("iam").detach_role_policy.call_count, 2)

    def test_the_daemon_is_given_time_for_other_accounts_and_holds_nobody_up(self):
        self.elsewhere = ["a lever in a member account"] * 2
        self.delete()
        self.assertEqual([order["verb"] for order in self.orders()].count("levers"), 3)
        self.elsewhere = ["a lever whose account nobody reaches"] * 99
        self.assertEqual(self.order("Delete", "Release", HELD, "release", RequestId="later")["Status"], "SUCCESS")
        self.assertLess(self.context.now, 300)

    def test_a_member_s_narrower_path_that_leaves_someone_held_behind_is_refused(self):
        self.service("iam").get_role.return_value = {"Role": {"Path": "/agents/", "RoleName": "alpha"}}
        before = {"Policy": POLICY, "Stack": "member", "Agents": "agents/"}
        for path in ["agents/", "agents/al"]:
            self.order("Update", "Release", {**before, "Agents": path}, "release", OldResourceProperties=before)
        with self.assertRaisesRegex(RuntimeError, "role alpha"):
            self.order("Update", "Release", {**before, "Agents": "robots/"}, "release", OldResourceProperties=before)
        self.assertEqual(self.attached, {"alpha"})

    def test_a_policy_that_somebody_may_have_is_not_left_behind_for_another(self):
        before, other = {"Policy": POLICY, "Stack": "member"}, {"Policy": POLICY + "-2", "Stack": "member"}
        self.assertEqual(self.order("Update", "Release", before, "release", OldResourceProperties=before)["PhysicalResourceId"], "release")
        self.assertIn("delete this stack", self.fails("Update", "Release", other, physical="release", OldResourceProperties=before))

    def test_create_and_update_do_nothing(self):
        for verb in ["Create", "Update"]:
            self.order(verb, "Release", HELD, "release")
        self.assertEqual((self.attached, self.orders()), ({"alpha"}, []))

    def switch(self, before, after, agents=("agents/", "agents/")):
        properties = [{**HELD, "Enabled": enabled, "Agents": path} for enabled, path in zip([before, after], agents)]
        return self.order("Update", "EnforcementSwitch", properties[1], "enforcement", OldResourceProperties=properties[0])

    def test_switched_off_by_an_update(self):
        self.switch("true", "false")
        self.assertEqual((self.attached, self.wanted), (set(), 1))

    def test_switched_off_while_the_daemon_is_silent_the_service_comes_back(self):
        self.daemon = "silent"
        self.switch("true", "false")
        self.assertEqual((self.attached, self.wanted), (set(), 1))

    def test_nothing_is_lifted_otherwise(self):
        for before, after in [("false", "true"), ("true", "true"), ("false", "false")]:
            self.switch(before, after)
        self.order("Create", "EnforcementSwitch", {**HELD, "Enabled": "true", "Agents": "agents/"})
        self.order("Delete", "EnforcementSwitch", {**HELD, "Enabled": "true", "Agents": "agents/"}, "enforcement")
        self.assertEqual((self.attached, self.orders()), ({"alpha"}, []))

    def test_a_path_that_leaves_someone_held_behind_is_refused(self):
        self.service("iam").get_role.return_value = {"Role": {"Path": "/agents/", "RoleName": "alpha"}}
        self.switch("true", "true", ("agents/", "agents/al"))
        with self.assertRaisesRegex(RuntimeError, "role alpha"):
            self.switch("true", "true", ("agents/", "robots/"))


class Answering(Case):
    """That CloudFormation is always answered, and what happens if it cannot be."""

    function = "Setup"
    taken, refuse = [], 0

    class Bucket(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if Answering.refuse:
                Answering.refuse -= 1
                self.send_response(503)
            else:
                Answering.taken.append(body)
                self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    def setUp(self):
        super().setUp()
        Answering.taken, Answering.refuse = [], 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.Bucket)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def test_a_failure_is_answered(self):
        self.service("bedrock").get_model_invocation_logging_configuration.side_effect = refused("ThrottlingException")
        self.order("Create", "Logging", Logging.properties, ResponseURL=self.url)
        [answer] = self.taken
        self.assertEqual((answer["Status"], answer["PhysicalResourceId"], answer["RequestId"]), ("FAILED", "none", "r"))
        self.assertIn("ThrottlingException of the test", answer["Reason"])

    def test_a_type_that_nobody_knows_is_answered(self):
        self.order("Create", "Unheard", {}, ResponseURL=self.url)
        self.assertEqual(self.taken[0]["Status"], "FAILED")

    def test_an_answer_is_small_enough(self):
        self.service("bedrock").get_model_invocation_logging_configuration.side_effect = RuntimeError("x" * 10_000)
        self.order("Create", "Logging", Logging.properties, ResponseURL=self.url)
        self.assertLess(len(json.dumps(self.taken[0])), 4096)

    def test_an_answer_that_is_not_taken_is_sent_again(self):
        Answering.refuse = 3
        self.order("Delete", "Trail", Trail.properties, "trail", ResponseURL=self.url)
        self.assertEqual(self.taken[0]["Status"], "SUCCESS")

    def test_one_that_cannot_be_sent_makes_lambda_hand_the_order_in_again(self):
        self.server.shutdown()
        self.server.server_close()
        with self.assertRaises(OSError):
            self.order("Delete", "Trail", Trail.properties, "trail", ResponseURL=self.url)

    def test_calls_are_tried_again_when_they_are_throttled(self):
        self.assertEqual(self.index.RETRY.retries["total_max_attempts"], 8)


if __name__ == "__main__":
    unittest.main()
