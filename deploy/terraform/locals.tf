# Names and conditions that several files use.
data "aws_caller_identity" "here" {}
data "aws_region" "here" {}
data "aws_partition" "here" {}
data "aws_availability_zones" "here" {
  #checkov:skip=CKV_AWS_394:The first two are taken; a zone that is new would come behind them
  count = local.makes_vpc ? 1 : 0
  state = "available"
}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.name
  partition = data.aws_partition.here.partition
  suffix    = data.aws_partition.here.dns_suffix
  tags      = { application = "sluice", "sluice:stack" = var.name }

  enforces     = var.enable_enforcement
  has_members  = var.organization_id != "" || length(var.member_accounts) > 0
  has_workers  = var.workers == "lambda"
  has_key      = var.kms_key_arn != ""
  key          = local.has_key ? var.kms_key_arn : null
  makes_bucket = var.lake_bucket_name == ""
  makes_table  = var.shared_table_name == ""
  makes_trail  = var.create_trail || var.trail_data_events
  makes_vpc    = var.vpc_id == ""
  arch         = var.architecture == "ARM64" ? "arm64" : "x86_64"

  bucket     = local.makes_bucket ? aws_s3_bucket.lake[0].id : var.lake_bucket_name
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  table      = local.makes_table ? aws_dynamodb_table.shared[0].name : var.shared_table_name
  table_arn  = "arn:${local.partition}:dynamodb:${local.region}:${local.account}:table/${local.table}"
  deny_arn   = "arn:${local.partition}:iam::${local.account}:policy/${var.name}-deny-bedrock"
  enforcer   = "arn:${local.partition}:iam::${local.account}:role/${var.name}-enforcer"
  parameters = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/${var.name}/*"

  # What the rest of deploy/ holds is used as it is, with the names of this installation in the places of its variables.
  deploy = "${path.module}/.."
  policies = { for file in ["iam/deny-bedrock.json", "iam/lever-deny-policy.json", "iam/enforcer-guard.json", "iam/operator.json", "directory-policy.json"] :
    file => replace(replace(replace(replace(replace(replace(file("${local.deploy}/${file}"),
      "$${AccountId}", local.account), "$${Region}", local.region), "$${AgentPath}", var.agent_role_path),
    "$${DenyPolicyName}", "${var.name}-deny-bedrock"), "$${SharedTable}", local.table), "arn:aws:", "arn:${local.partition}:")
  }
  use_key = local.has_key ? [{ Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = [var.kms_key_arn] }] : []
}
