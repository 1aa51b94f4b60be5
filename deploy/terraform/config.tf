# What the program is told. The budgets beside it are written once by setup.tf and are the owner's from then on.
locals {
  first_budgets = <<-END
    # Yours to edit; the daemon takes it on within a minute. Keys: sluice config show --reference
    # A new or changed budget only notifies until: sluice approve "each agent, daily"
    [[budget]]
    name = "each agent, daily"
    each = ["agent_id"]
    limit = "${var.daily_limit_per_agent}"
    window = "day"
    mode = "${local.enforces ? "enforce" : "observe"}"
    [[budget.threshold]]
    at = "80%"
    do = ["notify"]
    [[budget.threshold]]
    at = "100%"
    do = ["notify", "hold"]
  END
  levers = local.enforces ? join("\n", [
    "levers = [\"deny-policy\", \"flag\"]",
    "deny_policy_arn = \"arn:${local.partition}:iam::{account}:policy/${var.name}-deny-bedrock\"",
    "own_role_arn = \"${local.enforcer}\"",
    "role_arn = \"arn:${local.partition}:iam::{account}:role/${var.name}-enforcer\"",
    "external_id = \"sluice-${local.account}-${var.name}\"",
  ]) : "levers = []"
}
# It depends on the switch in setup.tf: what is denied is lifted before the program learns that it may no longer lift.
resource "aws_ssm_parameter" "config" {
  #checkov:skip=CKV2_AWS_34:It holds names, no secrets, and whoever may read it may see it
  depends_on  = [aws_cloudformation_stack.setup]
  name        = "/${var.name}/config"
  description = "Configuration of sluice, made by Terraform. Yours is the parameter it includes."
  type        = "String"
  tags        = local.tags
  value       = <<-END
    include = ["ssm:/${var.name}/budgets"]
    [lake]
    path = "s3://${local.bucket}/lake"
    state = "/var/lib/sluice/local.redb"
    glue_database = "${var.glue_database}"
    glue_region = "${local.region}"
    [control]
    socket = "/var/lib/sluice/control.sock"
    [shared]
    table = "${local.table}"
    region = "${local.region}"
    [flags]
    table = "${aws_dynamodb_table.flags.name}"
    region = "${local.region}"
    [operate]
    instance = "${var.name}"
    emf = "stdout"
    lease = "${var.standby ? "10s" : "60s"}"
    [directory]
    enabled = true
    region = "${local.region}"
    [coverage]
    regions = ["${local.region}"]
    ${local.has_members ? "role_arn = \"arn:${local.partition}:iam::{account}:role/${var.name}-reader\"" : ""}
    [[source]]
    kind = "kinesis"
    streams = ["${local.has_workers ? aws_kinesis_stream.relay[0].name : aws_kinesis_stream.logs.name}"]
    region = "${local.region}"
    [[source]]
    kind = "s3"
    ${var.log_bucket_name != "" ? "paths = [\"s3://${var.log_bucket_name}/\"]" : ""}
    queues = ["${aws_sqs_queue.events.url}"]
    queue_wait = "10s"
    region = "${local.region}"
    [[notify]]
    kind = "sns"
    topic_arn = "${aws_sns_topic.breaches.arn}"
    [enforce]
    breaches_file = "/var/lib/sluice/breaches.jsonl"
    region = "${local.region}"
    ${indent(4, local.levers)}
  END
}
