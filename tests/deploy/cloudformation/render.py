"""Reads a template of CloudFormation and works out what it comes to for given parameters.

    template = read("sluice.yaml")
    rendered = Stack(template, {"EnableEnforcement": "true"}).resources()     # without what a condition leaves out
    Stack(template, {}, known={"LakeBucket": "name"}).value(expression)       # an expression in full

Owns: conditions, Ref, Sub, GetAtt, Join, If, Select, GetAZs. Ids and attributes of resources come from `known` and `attributes`; what is not
known there stands as <Name> or <Name.Attribute>.
"""

import json
import pathlib
import re

import yaml

HERE = pathlib.Path(__file__).resolve().parent
TEMPLATES = HERE.parent.parent.parent / "deploy/cloudformation"
ACCOUNT, REGION = "123456789012", "us-east-1"
NOTHING = object()


class Loader(yaml.SafeLoader):
    pass


def long_form(loader, suffix, node):
    """Reads a short form as the long one."""
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    construct = loader.construct_sequence if isinstance(node, yaml.SequenceNode) else loader.construct_mapping
    return {name: construct(node, deep=True)}


Loader.add_multi_constructor("!", long_form)


def read(name):
    return yaml.load((TEMPLATES / name).read_text(), Loader)


class Stack:
    """A template with parameters."""

    def __init__(self, template, parameters, name="sluice", known=None, attributes=None, region=REGION, account=ACCOUNT):
        self.template, self.known, self.attributes = template, known or {}, attributes or {}
        self.pseudo = {"AWS::StackName": name, "AWS::Region": region, "AWS::AccountId": account, "AWS::Partition": "aws",
                       "AWS::URLSuffix": "amazonaws.com", "AWS::StackId": f"arn:aws:cloudformation:{region}:{account}:stack/{name}/0"}
        unknown = set(parameters) - set(template["Parameters"])
        assert not unknown, f"the template has no parameters {unknown}"
        self.parameters = {}
        for key, parameter in template["Parameters"].items():
            value = str(parameters.get(key, parameter.get("Default", f"<{key}>")))
            assert value in map(str, parameter.get("AllowedValues", [value])), f"{key}: {value}"
            pattern = parameter.get("AllowedPattern")
            assert not pattern or re.fullmatch(pattern, value), f"{key}: {value!r} is not {pattern}"
            self.parameters[key] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value

    def holds(self, condition):
        """Tells whether a condition holds, by its name or as it is written."""
        if isinstance(condition, str):
            return self.holds(self.template["Conditions"][condition])
        [(name, inner)] = condition.items()
        match name:
            case "Condition":
                return self.holds(inner)
            case "Fn::Equals":
                return self.value(inner[0]) == self.value(inner[1])
            case "Fn::Not":
                return not self.holds(inner[0])
            case "Fn::And":
                return all(self.holds(one) for one in inner)
            case "Fn::Or":
                return any(self.holds(one) for one in inner)
        raise AssertionError(f"no condition: {condition}")

    def there(self):
        """Returns the names of the resources that there are."""
        return [name for name, one in self.template["Resources"].items() if "Condition" not in one or self.holds(one["Condition"])]

    def resources(self):
        """Returns the resources that there are, with every expression worked out."""
        return {name: self.value(self.template["Resources"][name]) for name in self.there()}

    def outputs(self):
        outputs = self.template.get("Outputs", {}).items()
        return {name: self.value(one["Value"]) for name, one in outputs if "Condition" not in one or self.holds(one["Condition"])}

    def value(self, expression):
        """Works an expression out; members that are AWS::NoValue are left out."""
        if isinstance(expression, list):
            return [one for one in map(self.value, expression) if one is not NOTHING]
        if not isinstance(expression, dict):
            return expression
        if len(expression) == 1:
            [(name, inner)] = expression.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self.function(name, inner)
        # `Condition` of a resource names one, that of a policy is part of it.
        pairs = ((key, self.value(inner)) for key, inner in expression.items())
        return {key: inner for key, inner in pairs if inner is not NOTHING}

    def function(self, name, inner):
        match name:
            case "Ref":
                return NOTHING if inner == "AWS::NoValue" else self.named(inner)
            case "Fn::GetAtt":
                return self.attribute(*inner)
            case "Fn::If":
                return self.value(inner[1] if self.holds(inner[0]) else inner[2])
            case "Fn::Join":
                return inner[0].join(self.value(inner[1]))
            case "Fn::Select":
                return self.value(inner[1])[int(inner[0])]
            case "Fn::GetAZs":
                return [f"{self.pseudo['AWS::Region']}{letter}" for letter in "abc"]
            case "Fn::Sub":
                text, more = inner if isinstance(inner, list) else (inner, {})
                more = {key: self.value(one) for key, one in more.items()}
                return re.sub(r"\$\{([^!}]+)\}", lambda found: str(more[found[1]] if found[1] in more else self.named(found[1])), text)
        raise AssertionError(f"no function: {name}")

    def named(self, name):
        if name in self.parameters:
            return self.parameters[name]
        if name in self.pseudo:
            return self.pseudo[name]
        if "." in name:
            return self.attribute(*name.split(".", 1))
        assert name in self.template["Resources"], f"nothing is named {name}"
        return self.known.get(name, f"<{name}>")

    def attribute(self, name, attribute):
        assert name in self.there(), f"{name}.{attribute} is asked for, but a condition leaves {name} out"
        if (name, attribute) in self.attributes:
            return self.attributes[name, attribute]
        return f"<{name}.{attribute}>"


def statements(resources):
    """Yields (resource, policy, statement) of every policy that is given to a role or made."""
    for name, one in resources.items():
        properties = one.get("Properties", {})
        inline = [(entry["PolicyName"], entry["PolicyDocument"]) for entry in properties.get("Policies", [])] if one["Type"] == "AWS::IAM::Role" else []
        own = [(properties.get("PolicyName", ""), properties["PolicyDocument"])] if one["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy") else []
        for policy, document in inline + own:
            for statement in document["Statement"]:
                yield name, policy, statement


def many(value):
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    import sys

    given = dict(word.split("=", 1) for word in sys.argv[2:])
    print(json.dumps(Stack(read(sys.argv[1]), given).resources(), indent=1))
