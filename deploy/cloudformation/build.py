"""Assembles the templates of CloudFormation.

    build.py            # writes sluice.yaml and member.yaml beside this file
    build.py --check    # fails if they are not what it would write

Sources: NAME.src.yaml, where "@{…}" stands for what is put in: handlers/*.py (without comments), deploy/iam/*.json, deploy/athena, the
dashboard, alarms.json. Anchors of YAML are for the sources alone: CloudFormation does not know them. Needs PyYAML.
"""

import argparse
import ast
import json
import pathlib
import re
import sys
import tomllib

import yaml

HERE = pathlib.Path(__file__).resolve().parent
DEPLOY = HERE.parent
TAGS = {"Ref", "Sub", "GetAtt", "If", "Equals", "Not", "And", "Or", "Condition", "Join", "Select", "GetAZs", "Split"}
DATA_EVENTS = ["AWS::Bedrock::AgentAlias", "AWS::Bedrock::InlineAgent", "AWS::Bedrock::FlowAlias", "AWS::Bedrock::KnowledgeBase", "AWS::Bedrock::Model",
               "AWS::Bedrock::AsyncInvoke", "AWS::BedrockAgentCore::Runtime"]
# The rules of CloudFormation for --template-body, and for templates in S3.
BODY_MAX, TEMPLATE_MAX = 51_200, 1_000_000


class Tagged(tuple):
    """A short form: its name and its argument."""

    __slots__ = ()


class Text(str):
    """Text of several lines."""


def read_tag(loader, suffix, node):
    kinds = {"scalar": loader.construct_scalar, "sequence": lambda node: loader.construct_sequence(node, deep=True),
             "mapping": lambda node: loader.construct_mapping(node, deep=True)}
    return Tagged((suffix, kinds[node.id](node)))


class Loader(yaml.SafeLoader):
    pass


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def write_tag(dumper, data):
    name, value = data
    if isinstance(value, str):
        return dumper.represent_scalar(f"!{name}", value, style="|" if "\n" in value else None)
    kind = dumper.represent_mapping if isinstance(value, dict) else dumper.represent_sequence
    return kind(f"!{name}", value)


Loader.add_multi_constructor("!", read_tag)
Dumper.add_representer(Tagged, write_tag)
Dumper.add_representer(Text, lambda dumper, data: dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|"))


def version():
    return tomllib.loads((DEPLOY.parent / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def bare(path):
    """The code of a file, without comments, docstrings and imports of its neighbours."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "answer")]
    code = ast.unparse(tree)
    return re.sub(r"^( +)", lambda found: " " * (len(found.group(1)) // 4), code, flags=re.M)


def handler(name):
    """What CloudFormation puts into a function: the shared part and one handler, as one file."""
    return Text(bare(HERE / "handlers/answer.py") + "\n" + bare(HERE / f"handlers/{name}.py") + "\n")


def policy(name):
    """A policy of deploy/iam with the names of this stack in the places of its variables."""
    names = {"AccountId": "${AWS::AccountId}", "Region": "${AWS::Region}", "AgentPath": "${AgentRolePath}", "DenyPolicyName": "@{denyname}",
             "SharedTable": "@{table}"}

    def put(value):
        if isinstance(value, dict):
            return {key: put(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [put(inner) for inner in value]
        text = value
        for variable, name in names.items():
            text = text.replace("${" + variable + "}", name)
        text = text.replace("arn:aws:", "arn:${AWS::Partition}:").replace("@{denyname}", "@{stack}-deny-bedrock")
        if "@{table}" in text:
            return Tagged(("Sub", [text.replace("@{table}", "${Table}"), {"Table": Tagged(("If", ["MakesTable", Tagged(("Ref", "SharedTable")), Tagged(("Ref", "SharedTableName"))]))}]))
        return Tagged(("Sub", text)) if "${" in text or "@{" in text else text

    return put(json.loads((DEPLOY / name).read_text()))


def alarms():
    topic, made = [Tagged(("Ref", "Alarms"))], {}
    for alarm in json.loads((HERE / "alarms.json").read_text()):
        of = alarm.get("of", 1)
        wanted = {
            "AlarmName": Tagged(("Sub", "${AWS::StackName}-" + alarm["name"])),
            "AlarmDescription": f"{alarm['does']}. docs/runbook.md, {alarm['name']}",
            "ComparisonOperator": "LessThanThreshold" if "below" in alarm else "GreaterThanThreshold",
            "Threshold": alarm.get("below", alarm.get("above")),
            "EvaluationPeriods": of,
            "TreatMissingData": alarm.get("missing", "notBreaching"),
            "AlarmActions": topic,
            "OKActions": topic,
        }
        if "query" in alarm:
            wanted["Metrics"] = [{"Id": "q", "Expression": Tagged(("Sub", alarm["query"])), "Period": alarm["period"], "ReturnData": True}]
        elif "most" in alarm:
            # The greatest of several; one that has no value is passed over.
            instance = [{"Name": "Instance", "Value": Tagged(("Ref", "AWS::StackName"))}]
            parts = [{"Id": name.lower(), "ReturnData": False, "MetricStat": {"Stat": stat, "Period": alarm["period"], "Metric": {
                "Namespace": "Sluice", "MetricName": name, "Dimensions": instance}}} for name, stat in alarm["most"].items()]  # fmt: skip
            wanted["Metrics"] = [{"Id": "most", "Expression": f"MAX([{', '.join(part['Id'] for part in parts)}])"}, *parts]
        else:
            dimensions = alarm.get("dimensions", {"Instance": Tagged(("Ref", "AWS::StackName"))})
            wanted.update(Namespace=alarm.get("namespace", "Sluice"), MetricName=alarm["metric"], Statistic=alarm["stat"], Period=alarm["period"],
                          Dimensions=[{"Name": name, "Value": short(value)} for name, value in dimensions.items()])
        logical = "Alarm" + "".join(word.capitalize() for word in alarm["name"].split("-"))
        condition = {"Condition": alarm["condition"]} if "condition" in alarm else {}
        made[logical] = {"Type": "AWS::CloudWatch::Alarm", **condition, "Properties": wanted}
    return made


def short(value):
    """A long form of a function as its short form."""
    if isinstance(value, dict) and len(value) == 1:
        [(name, inner)] = value.items()
        if name == "Ref":
            return Tagged(("Ref", inner))
        if name == "Fn::GetAtt":
            return Tagged(("GetAtt", ".".join(inner)))
    return value


def camel(name):
    return "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", name))


def queries():
    made = {}
    for path in sorted((DEPLOY / "athena/queries").glob("*.sql")):
        head = dict(re.findall(r"^-- (name|description): (.+)$", path.read_text(), flags=re.M))
        text = re.sub(r"\A(?:--[^\n]*\n)+", "", path.read_text()).strip() + "\n"
        made["Query" + camel(path.stem)] = {"Type": "AWS::Athena::NamedQuery", "Properties": {
            "Name": head["name"], "Description": head["description"], "Database": Tagged(("Ref", "Database")),
            "WorkGroup": Tagged(("Ref", "Workgroup")), "QueryString": Text(text)}}
    return made


def tables():
    """Tables of deploy/athena/tables.json: TableInput, with ${LakeBucket} for the bucket, whosever it is."""
    path, made = DEPLOY / "athena/tables.json", {}
    for table in json.loads(path.read_text()) if path.exists() else []:
        made["Table" + camel(table["Name"])] = {"Type": "AWS::Glue::Table", "Properties": {
            "CatalogId": Tagged(("Ref", "AWS::AccountId")), "DatabaseName": Tagged(("Ref", "Database")), "TableInput": located(table)}}
    return made


def located(value):
    if isinstance(value, dict):
        return {key: located(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [located(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        bucket = Tagged(("If", ["MakesBucket", Tagged(("Ref", "LakeBucket")), Tagged(("Ref", "LakeBucketName"))]))
        return Tagged(("Sub", [value.replace("${LakeBucket}", "${Bucket}"), {"Bucket": bucket}]))
    return value


def dashboard():
    path = DEPLOY / "dashboards/cloudwatch.json"
    body = json.loads(path.read_text()) if path.exists() else {"widgets": []}
    text = json.dumps(body, separators=(",", ":")).replace("${Instance}", "${AWS::StackName}").replace("${Region}", "${AWS::Region}")
    return Tagged(("Sub", text)) if "${" in text else text


def selectors():
    field = [{"Field": "eventCategory", "Equals": ["Data"]}]
    return [Tagged(("If", ["MakesDataTrail", {"Name": kind.replace("::", "-"), "FieldSelectors": [*field, {"Field": "resources.type", "Equals": [kind]}]},
                           Tagged(("Ref", "AWS::NoValue"))])) for kind in DATA_EVENTS]


def filled(name, *words):
    """What stands for "@{name words}"."""
    makers = {"version": version, "handler": handler, "alarms": alarms, "queries": queries, "tables": tables, "dashboard": dashboard,
              "selectors": selectors, "policy": lambda file: policy(f"iam/{file}"), "directory": lambda: policy("directory-policy.json")["Statement"],
              "operator": lambda: policy("iam/operator.json")["Statement"]}
    return makers[name](*words)


def fill(value, names):
    """Puts in what the marks stand for; a mark alone as a key or as a member of a list is replaced by all that it stands for."""
    if isinstance(value, Tagged):
        name, inner = value
        return Tagged((name, fill(inner, names)))
    if isinstance(value, dict):
        out = {}
        for key, inner in value.items():
            if str(key).startswith("@{"):
                out.update(fill(filled(*key[2:-1].split()), names))
            else:
                out[key] = fill(inner, names)
        return out
    if isinstance(value, list):
        out = []
        for inner in value:
            new = fill(inner, names)
            out.extend(new if isinstance(inner, str) and inner.startswith("@{") and isinstance(new, list) else [new])
        return out
    if isinstance(value, str) and not isinstance(value, Text):
        if value.startswith("@{") and value.endswith("}") and value.count("@{") == 1 and value[2:-1] not in names:
            return fill(filled(*value[2:-1].split()), names)
        for mark, text in names.items():
            value = value.replace("@{" + mark + "}", text)
    return value


def build(name):
    """Returns the text of a template."""
    source = yaml.load((HERE / f"{name}.src.yaml").read_text(), Loader)
    names = {"stack": "${AWS::StackName}" if name == "sluice" else "${Installation}"}
    head = f"# Made by deploy/cloudformation/build.py from {name}.src.yaml, which has the comments. Change that, then run it.\n"
    return head + yaml.dump(fill(source, names), Dumper=Dumper, sort_keys=False, width=1_000_000, default_flow_style=None, allow_unicode=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    stale = []
    for source in sorted(HERE.glob("*.src.yaml")):
        name = source.name.removesuffix(".src.yaml")
        path, text = HERE / f"{name}.yaml", build(name)
        size = len(text.encode())
        assert size <= TEMPLATE_MAX, f"{path.name} has {size} bytes; CloudFormation takes {TEMPLATE_MAX}"
        print(f"{path.name}: {size} bytes" + ("" if size <= BODY_MAX else ", which goes by way of a bucket"))
        if args.check:
            stale += [path.name] if not path.exists() or path.read_text() != text else []
        else:
            path.write_text(text)
    if stale:
        print(f"not what build.py makes of its sources: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
