"""The Terraform module: its form, its conditions, and a whole life against an emulator: apply, enforcement on and off, destroy.

    terraform.py [--checkov CHECKOV] [--quick]

Needs terraform, its AWS provider (from a mirror on this machine, see mirror(), or from Terraform's own registry), moto and boto3 in this
Python. With --quick nothing is applied. Without terraform or a provider it says so, and fails where SLUICE_LIVE=1 or CI=true.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))
MODULE = "deploy/terraform"
# What moto forgets of a resource, so that a second plan has something to do: tags of a stream, modes of a service; it adds spaces to a policy.
# And it forgets the policy of a queue when the queue is updated.
FORGETS = {"aws_kinesis_stream.logs": "updated in-place", "aws_ecs_service.own": "updated in-place", "aws_sqs_queue.events": "updated in-place",
           'aws_sqs_queue_policy.events["events"]': "created"}
DENY = "arn:aws:iam::123456789012:policy/sluice-deny-bedrock"


def missing(why):
    """Ends the program, with an error where everything has to be there."""
    needed = os.environ.get("SLUICE_LIVE") == "1" or os.environ.get("CI") == "true"
    print(f"{'FAILED' if needed else 'not run'}: {why}")
    sys.exit(1 if needed else 0)


def mirror():
    """Returns a folder of this machine that Terraform may take its provider from."""
    places = [os.environ.get("SLUICE_TERRAFORM_MIRROR"), "/opt/tf-plugins", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins",
              str(pathlib.Path.home() / ".terraform.d/plugins")]
    return next((place for place in places if place and any(pathlib.Path(place).glob("*/hashicorp/aws"))), None)


class Terraform:
    """Terraform on a copy of the module, so that nothing is left in the tree."""

    def __init__(self, work, folder=MODULE, **env):
        self.folder = work / folder
        place, config = mirror(), work / "terraform.rc"
        config.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{place}" }}\n}}\n' if place else "")
        cache = pathlib.Path.home() / ".cache/sluice/terraform"
        cache.mkdir(parents=True, exist_ok=True)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}
        self.env |= {"TF_CLI_CONFIG_FILE": str(config), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "AWS_EC2_METADATA_DISABLED": "true"} | env
        if not place:
            self.env["TF_PLUGIN_CACHE_DIR"] = str(cache)

    def __call__(self, *args, fails=False):
        """Runs one command; returns what it printed."""
        done = subprocess.run(["terraform", *args, "-no-color"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=600)
        if bool(done.returncode) != fails:
            print(done.stdout[-6000:], done.stderr[-6000:], sep="\n")
            raise SystemExit(f"terraform {' '.join(args)} {'did not fail' if fails else 'failed'}")
        return done.stdout + done.stderr

    def init(self):
        """Gets the provider, or says that there is none to be had."""
        done = subprocess.run(["terraform", "init", "-no-color", "-input=false"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=600)
        if done.returncode:
            missing(f"no AWS provider for Terraform here, neither in a mirror (SLUICE_TERRAFORM_MIRROR) nor from its registry:\n{done.stderr[-600:]}")


def form(work):
    """Formatting, validity of module and example, and the conditions of the module's own tests."""
    tf = Terraform(work)
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", "-diff"], cwd=ROOT / MODULE, env=tf.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    tf.init()
    tf("validate")
    example = Terraform(work, f"{MODULE}/examples/one-account")
    example.init()
    example("validate")
    print("ok  formatted and valid, the example as well")
    told = tf("test")
    print("ok  terraform test: " + re.findall(r"(\d+ passed, \d+ failed)", told)[-1])


def equal_to_the_template():
    """Variables have the names, defaults and choices of the template's parameters."""
    template = ROOT / "deploy/cloudformation/sluice.src.yaml"
    text = template.read_text()
    block = re.search(r"^Parameters:\n(.*?)^\S", text, re.S | re.M).group(1)
    parameters = dict(re.findall(r"^  (\w+):\n((?:    .*\n)+)", block, re.M))
    variables = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', (ROOT / MODULE / "variables.tf").read_text(), re.S | re.M))
    renamed = {"Version": "release"}
    own = {"name", "delete_data"}
    wanted = {renamed.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): about for name, about in parameters.items()}
    assert set(wanted) == set(variables) - own, f"only on one side: {sorted(set(wanted) ^ (set(variables) - own))}"
    for name, about in wanted.items():
        here = re.search(r"default\s+= (.*)", variables[name]).group(1).strip('"')
        there = re.search(r"Default: (.*)", about).group(1).strip('"')
        same = (here == "[]" and there == "") or there.startswith("@{") or here == there
        assert same, f"{name}: {here} here, {there} in the template"
    module = "".join(path.read_text() for path in sorted((ROOT / MODULE).glob("*.tf")))
    assert actions(text) == actions(module), f"actions on one side only: {sorted(actions(text) ^ actions(module))}"
    there = re.search(r"Value: !Sub\n        - \|\n(.*?)        - Bucket:", text, re.S).group(1)
    here = re.search(r"value       = <<-END\n(.*?)\n  END", (ROOT / MODULE / "config.tf").read_text(), re.S).group(1)
    assert keys(here) == keys(there), f"the configuration: {keys(here)} here, {keys(there)} in the template"
    print(f"ok  {len(wanted)} variables as the template's parameters, the same {len(actions(text))} actions of IAM, the same keys of the configuration")


def actions(text):
    """Returns every action of AWS that a text names."""
    return set(re.findall(r"\b((?:athena|bedrock|cloudtrail|cloudwatch|dynamodb|ecr|ecs|events|glue|iam|kinesis|kms|lambda|logs|s3|sns|sqs|ssm|sts):[A-Z][A-Za-z]+)", text))


def keys(text):
    """Returns sections and keys of a configuration, in order; what stands for more than a value is left out."""
    lines = [line.strip() for line in text.splitlines()]
    return [line.split(" = ")[0] for line in lines if line and not line.startswith("${")]


def moto(work):
    """Starts moto; returns its process and its address."""
    pid = work / "moto.pid"
    process = subprocess.Popen([ROOT / "tests/live/servers/moto.sh", "0", pid], stdout=subprocess.PIPE, stderr=(work / "moto.log").open("w"), text=True)
    return process, process.stdout.readline().strip()


def life(work):
    """Applies, switches enforcement on and off, and destroys, each step looked at."""
    import boto3
    from cloudformation import Server

    process, url = moto(work)

    def client(name):
        return boto3.client(name, endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    fake = Server(url, sys.executable, client).start()
    try:
        Life(work, url, fake, client).run()
    finally:
        fake.stop()
        process.send_signal(signal.SIGTERM)
        process.wait()


class Life:
    """One installation from its first apply to its end."""

    def __init__(self, work, url, fake, client):
        self.url, self.fake, self.client = url, fake, client
        self.root = work / "life"
        self.root.mkdir()
        (self.root / "main.tf").write_text(f"""
provider "aws" {{
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  max_retries                 = 3
}}
variable "enforce" {{ default = false }}
variable "delete_data" {{ default = false }}
variable "manage_logging" {{ default = false }}
module "sluice" {{
  source             = "../{MODULE}"
  alarm_email        = "platform@example.com"
  enable_enforcement = var.enforce
  delete_data        = var.delete_data
  manage_logging     = var.manage_logging
}}
output "sluice" {{ value = module.sluice }}
""")
        self.tf = Terraform(work, "life", AWS_ENDPOINT_URL=url, AWS_ENDPOINT_URL_CLOUDFORMATION=fake.url)

    def apply(self, *options):
        """Applies; what is there is as Terraform left it, so it is not asked again for each."""
        self.tf("apply", "-auto-approve", "-input=false", "-refresh=false", *options)

    def attached(self):
        """Returns the roles that are denied."""
        return [one["RoleName"] for one in self.client("iam").list_entities_for_policy(PolicyArn=DENY)["PolicyRoles"]]

    def writes(self):
        """Returns every action that changes IAM and is granted to a role of this installation."""
        iam, found = self.client("iam"), set()
        for role in iam.list_roles()["Roles"]:
            for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
                document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
                for statement in document["Statement"]:
                    actions = statement.get("Action", [])
                    found.update(action for action in ([actions] if isinstance(actions, str) else actions)
                                 if statement["Effect"] == "Allow" and action.startswith("iam:") and not re.match(r"iam:(Get|List|PassRole)", action))
        return found

    def run(self):
        """The steps, in order."""
        logs = self.client("logs")
        logs.create_log_group(logGroupName="/bedrock/calls")
        self.client("bedrock").put_model_invocation_logging_configuration(loggingConfig={
            "cloudWatchConfig": {"logGroupName": "/bedrock/calls", "roleArn": "arn:aws:iam::123456789012:role/bedrock-logging"},
            **{f"{kind}DataDeliveryEnabled": False for kind in ("text", "image", "embedding", "video", "audio")}})
        self.tf.init()
        self.enforcing()
        self.watching(logs)
        self.end()

    def enforcing(self):
        """Switched on, somebody is denied; switched off, they are let go before what could do so goes."""
        iam, ssm = self.client("iam"), self.client("ssm")
        self.apply("-var=enforce=true")
        assert self.writes() and 'mode = "enforce"' in ssm.get_parameter(Name="/sluice/budgets")["Parameter"]["Value"]
        ssm.put_parameter(Name="/sluice/budgets", Value="# mine\n", Overwrite=True)
        self.hold("triage")
        seen = []
        self.fake.watch = lambda what: what == "Update EnforcementSwitch" and seen.append((self.attached(), self.writes()))
        self.apply("-var=enforce=false")
        [(held, could)] = seen
        assert held == ["triage"] and could, "what could lift the deny went before it was lifted"
        assert iam.list_attached_role_policies(RoleName="triage")["AttachedPolicies"] == []
        assert ssm.get_parameter(Name="/sluice/budgets")["Parameter"]["Value"] == "# mine\n", "the owner's budgets were written over"
        print("ok  enforcement on and off: the deny is lifted first, then its policy and the enforcer go; budgets stay the owner's")

    def watching(self, logs):
        """Without enforcement: subscribed to what is there, and nothing that could change a permission."""
        told = json.loads(self.tf("output", "-json", "sluice"))
        assert "/bedrock/calls" in told["logging"] and "subscribed" in told["subscription"], told
        filters = logs.describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"]
        assert [one["destinationArn"].split("/")[-1] for one in filters] == ["sluice-logs"], filters
        assert self.writes() == set(), self.writes()
        config = self.client("ssm").get_parameter(Name="/sluice/config")["Parameter"]["Value"]
        assert "levers = []" in config and not config.startswith(" "), config
        plan = self.tf("plan", "-input=false")
        changes = dict(re.findall(r"# module\.sluice\.(\S+) (?:will|must) be (.+)", plan))
        assert changes.items() <= FORGETS.items(), plan
        print("ok  without enforcement: the log group that was there is subscribed to, no permission to change IAM, a second plan makes nothing anew")

    def hold(self, name):
        """An agent's role, denied."""
        self.client("iam").create_role(RoleName=name, Path="/agents/", AssumeRolePolicyDocument="{}")
        self.client("iam").attach_role_policy(RoleName=name, PolicyArn=DENY)

    def end(self):
        """Destroyed while somebody is denied: let go while the service is there; data stay unless they may go."""
        iam = self.client("iam")
        self.apply("-var=enforce=true")
        self.hold("checkout")
        seen = []

        def look(what):
            if what == "Delete Release":
                services = self.client("ecs").describe_services(cluster="sluice", services=["sluice"])["services"]
                seen.append((self.attached(), [one["status"] for one in services], bool(self.writes())))

        self.fake.watch = look
        bucket = next(one["Name"] for one in self.client("s3").list_buckets()["Buckets"] if one["Name"].startswith("sluice-lake-"))
        # Over plain HTTP, which the policy refuses.
        self.client("s3").delete_bucket_policy(Bucket=bucket)
        self.client("s3").put_object(Bucket=bucket, Key="lake/calls/x", Body=b"x")
        # moto cannot delete saved queries.
        self.tf("state", "rm", "module.sluice.aws_athena_named_query.own")
        refused = self.tf("destroy", "-auto-approve", "-input=false", "-refresh=false", "-var=enforce=true", fails=True)
        assert "BucketNotEmpty" in refused or "not empty" in refused, refused[-2000:]
        assert seen[0] == (["checkout"], ["ACTIVE"], True), seen
        assert iam.list_attached_role_policies(RoleName="checkout")["AttachedPolicies"] == []
        left = sorted(set(re.findall(r"module\.sluice\.(?!data\.)(\S+)", self.tf("state", "list"))) - {"data"})
        left = [one for one in left if not one.startswith("data.")]
        assert set(left) <= {"aws_s3_bucket.lake[0]", "aws_dynamodb_table.shared[0]"}, left
        assert self.client("logs").describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"] == []
        print(f"ok  destroyed: {seen[0][0][0]} is let go first, by what is still there; left is {', '.join(left)}")
        self.fake.watch = lambda what: None
        self.apply("-var=delete_data=true", "-target=module.sluice.aws_s3_bucket.lake", "-target=module.sluice.aws_dynamodb_table.shared")
        self.tf("destroy", "-auto-approve", "-input=false", "-refresh=false", "-var=delete_data=true")
        assert not [one for one in self.client("s3").list_buckets()["Buckets"]], "a bucket is left"
        assert self.client("dynamodb").list_tables()["TableNames"] == []
        print("ok  with delete_data nothing is left")


def policies(checkov, work):
    """No finding of checkov but those that the module names with a reason."""
    done = subprocess.run([checkov, "--quiet", "--compact", "--framework", "terraform", "--directory", work / MODULE, "--skip-path", "tests", "--skip-path", "examples"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    print("ok  checkov finds nothing that the module does not name with a reason")


def main():
    """Runs it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkov", help="path of checkov")
    parser.add_argument("--quick", action="store_true", help="apply nothing")
    args = parser.parse_args()
    if not shutil.which("terraform"):
        missing("there is no terraform here (1.6 or newer)")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        shutil.copytree(ROOT / "deploy", work / "deploy", ignore=shutil.ignore_patterns(".terraform*", "__pycache__"))
        form(work)
        equal_to_the_template()
        if args.checkov:
            policies(args.checkov, work)
        if not args.quick:
            life(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
