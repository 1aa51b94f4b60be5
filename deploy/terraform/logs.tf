# From the log group that Bedrock writes to into the stream. The subscription itself is made by setup.tf, which finds the group.
resource "aws_kinesis_stream" "logs" {
  name             = "${var.name}-logs"
  shard_count      = var.stream_mode == "PROVISIONED" ? 1 : null
  retention_period = 24
  encryption_type  = "KMS"
  kms_key_id       = local.has_key ? var.kms_key_arn : "alias/aws/kinesis"
  tags             = local.tags
  stream_mode_details { stream_mode = var.stream_mode }
}

resource "aws_iam_role" "delivery" {
  name_prefix = "${var.name}-delivery-"
  description = "CloudWatch Logs puts records into the stream as this role"
  tags        = local.tags
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect = "Allow", Principal = { Service = "logs.amazonaws.com" }, Action = "sts:AssumeRole",
    Condition = { StringLike = { "aws:SourceArn" = concat(["arn:${local.partition}:logs:*:${local.account}:*"],
    local.has_members ? ["arn:${local.partition}:logs:*:*:*"] : []) } }
  }] })
}
resource "aws_iam_role_policy" "delivery" {
  name = "put"
  role = aws_iam_role.delivery.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(
    [{ Effect = "Allow", Action = ["kinesis:PutRecord"], Resource = [aws_kinesis_stream.logs.arn] }],
    local.has_key ? [{ Effect = "Allow", Action = ["kms:GenerateDataKey"], Resource = [var.kms_key_arn] }] : [],
  ) })
}

# Log groups of member accounts send here.
resource "aws_cloudwatch_log_destination" "members" {
  count      = local.has_members ? 1 : 0
  depends_on = [aws_iam_role_policy.delivery]
  name       = "${var.name}-logs"
  role_arn   = aws_iam_role.delivery.arn
  target_arn = aws_kinesis_stream.logs.arn
  tags       = local.tags
}
resource "aws_cloudwatch_log_destination_policy" "members" {
  count            = local.has_members ? 1 : 0
  destination_name = aws_cloudwatch_log_destination.members[0].name
  access_policy = jsonencode({ Version = "2012-10-17", Statement = [merge(
    {
      Effect    = "Allow", Action = "logs:PutSubscriptionFilter", Resource = aws_cloudwatch_log_destination.members[0].arn,
      Principal = var.organization_id == "" ? { AWS = var.member_accounts } : { AWS = ["*"] }
    },
    var.organization_id == "" ? {} : { Condition = { StringEquals = { "aws:PrincipalOrgID" = var.organization_id } } },
  )] })
}
