# Who is told: of breaches and holds, and of what is wrong with the installation itself.
resource "aws_sns_topic" "breaches" {
  name              = "${var.name}-breaches"
  display_name      = "sluice"
  kms_master_key_id = local.has_key ? var.kms_key_arn : "alias/aws/sns"
  tags              = local.tags
}
resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26:With kms_key_arn; CloudWatch may not use the key of AWS for SNS, and alarms hold no data of calls
  name              = "${var.name}-alarms"
  display_name      = "sluice alarms"
  kms_master_key_id = local.key
  tags              = local.tags
}
locals {
  of_account = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
}
resource "aws_sns_topic_policy" "breaches" {
  arn = aws_sns_topic.breaches.arn
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid    = "ThisAccount", Effect = "Allow", Principal = local.of_account, Resource = aws_sns_topic.breaches.arn,
    Action = ["sns:Publish", "sns:Subscribe", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic"]
    }, {
    Sid       = "OnlyTls", Effect = "Deny", Principal = "*", Action = "sns:Publish", Resource = aws_sns_topic.breaches.arn,
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }] })
}
resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid = "Alarms", Effect = "Allow", Principal = { Service = "cloudwatch.amazonaws.com" }, Action = "sns:Publish", Resource = aws_sns_topic.alarms.arn,
    Condition = {
      StringEquals = { "aws:SourceAccount" = local.account }
      ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${var.name}-*" }
    }
    }, {
    Sid    = "ThisAccount", Effect = "Allow", Principal = local.of_account, Resource = aws_sns_topic.alarms.arn,
    Action = ["sns:Subscribe", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic"]
    }, {
    Sid       = "OnlyTls", Effect = "Deny", Principal = "*", Action = "sns:Publish", Resource = aws_sns_topic.alarms.arn,
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }] })
}
resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
