"""The tables of docs/running-cost.md against costs.json, and its quantities against the template. Run by run.sh."""

import json
import re
import subprocess
import sys
import unittest

from render import TEMPLATES, Stack, read
from test_template import AGREED, ROOT

COSTS = json.loads((TEMPLATES / "costs.json").read_text())


class Costs(unittest.TestCase):
    def setUp(self):
        self.floor = {row["item"]: row["quantity"] for row in COSTS["tables"][0]["rows"]}

    def test_the_document_has_the_tables(self):
        done = subprocess.run([sys.executable, TEMPLATES / "costs.py", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_floor_is_no_more_than_agreed(self):
        self.assertEqual(COSTS["tables"][0]["most"], "35.00")
        [total] = re.findall(r"\*\*sum\*\* \| \| \| \*\*(\d+\.\d\d)", (ROOT / "docs/running-cost.md").read_text())[:1]
        self.assertLessEqual(float(total), 35)

    def test_quantities_are_those_of_the_default_stack(self):
        resources = Stack(read("sluice.yaml"), {}).resources()
        count = lambda kind: sum(one["Type"] == kind for one in resources.values())  # noqa: E731
        alarms = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::CloudWatch::Alarm"]
        watched = sum(len([part for part in alarm.get("Metrics", [{}]) if "Expression" not in part]) or 1 for alarm in alarms)
        self.assertEqual(int(self.floor["CloudWatch alarms, by metric watched"]), watched)
        self.assertEqual(int(self.floor["CloudWatch dashboard"]), count("AWS::CloudWatch::Dashboard"))
        self.assertEqual((count("AWS::Kinesis::Stream"), resources["Stream"]["Properties"]["ShardCount"]), (1, 1))
        task = resources["Task"]["Properties"]
        self.assertEqual((task["Cpu"], task["Memory"], task["RuntimePlatform"]["CpuArchitecture"]), ("256", "512", "ARM64"))
        self.assertEqual((resources["Service"]["Properties"]["DesiredCount"], count("AWS::EC2::NatGateway")), (1, 0))
        text = resources["Configuration"]["Properties"]["Value"]
        self.assertIn('lease = "60s"', text)
        self.assertIn('queue_wait = "10s"', text)
        exported = set(re.findall(r'metric\("(\w+)"', (ROOT / "src/operate/emf.rs").read_text())) | AGREED
        # Without levers nothing is known of them.
        self.assertEqual(int(self.floor["CloudWatch metrics of the program"]), len(exported - {"BreakerOpen", "LeversFailing"}))


if __name__ == "__main__":
    unittest.main()
