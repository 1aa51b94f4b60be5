# CloudTrail events: who called, and calls of accounts without a log.
resource "aws_sqs_queue" "undelivered" {
  name_prefix               = "${var.name}-undelivered-"
  message_retention_seconds = 1209600
  kms_master_key_id         = local.key
  sqs_managed_sse_enabled   = local.has_key ? null : true
  tags                      = local.tags
}
resource "aws_sqs_queue" "events" {
  name_prefix                = "${var.name}-events-"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 300
  receive_wait_time_seconds  = 10
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.undelivered.arn, maxReceiveCount = 20 })
  kms_master_key_id          = local.key
  sqs_managed_sse_enabled    = local.has_key ? null : true
  tags                       = local.tags
}
resource "aws_sqs_queue_policy" "events" {
  for_each  = { events = aws_sqs_queue.events, undelivered = aws_sqs_queue.undelivered }
  queue_url = each.value.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(
    [{
      Sid       = "Rules", Effect = "Allow", Principal = { Service = "events.amazonaws.com" }, Action = "sqs:SendMessage", Resource = each.value.arn,
      Condition = { ArnLike = { "aws:SourceArn" = "arn:${local.partition}:events:${local.region}:${local.account}:rule/*" } }
      }, {
      Sid       = "OnlyTls", Effect = "Deny", Principal = "*", Action = "sqs:*", Resource = each.value.arn,
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }],
    var.log_bucket_name == "" || each.key != "events" ? [] : [{
      Sid = "NewLogObjects", Effect = "Allow", Principal = { Service = "s3.amazonaws.com" }, Action = "sqs:SendMessage", Resource = each.value.arn,
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = "arn:${local.partition}:s3:::${var.log_bucket_name}" }
      }
    }],
  ) })
}

locals {
  # Calls of models only read, so rules see them in this state alone.
  all_events = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  rules = merge({
    model-calls = {
      bus     = "default", about = "Calls of Bedrock, to sluice",
      pattern = { source = ["aws.bedrock", "aws.bedrock-agentcore", "aws.bedrock-mantle"], detail-type = ["AWS API Call via CloudTrail"] }
    }
    roles-taken = {
      bus     = "default", about = "Who took on which role, to sluice",
      pattern = { source = ["aws.sts"], detail-type = ["AWS API Call via CloudTrail"], detail = { eventName = [{ prefix = "AssumeRole" }] } }
    }
    }, local.has_members ? {
    members = {
      bus     = aws_cloudwatch_event_bus.members[0].name, about = "Events of member accounts, to sluice",
      pattern = { detail-type = ["AWS API Call via CloudTrail"] }
    }
  } : {})
}
resource "aws_cloudwatch_event_rule" "to_sluice" {
  for_each       = { for name, rule in local.rules : name => { bus = rule.bus, about = rule.about, pattern = jsonencode(rule.pattern) } }
  name           = "${var.name}-${each.key}"
  description    = each.value.about
  event_bus_name = each.value.bus
  event_pattern  = each.value.pattern
  state          = local.all_events
  tags           = local.tags
}
resource "aws_cloudwatch_event_target" "to_sluice" {
  for_each       = aws_cloudwatch_event_rule.to_sluice
  depends_on     = [aws_sqs_queue_policy.events]
  rule           = each.value.name
  event_bus_name = each.value.event_bus_name
  target_id      = "events"
  arn            = aws_sqs_queue.events.arn
  dead_letter_config { arn = aws_sqs_queue.undelivered.arn }
}
resource "aws_cloudwatch_event_bus" "members" {
  count = local.has_members ? 1 : 0
  name  = "${var.name}-events"
  tags  = local.tags
}
resource "aws_cloudwatch_event_bus_policy" "members" {
  count          = local.has_members ? 1 : 0
  event_bus_name = aws_cloudwatch_event_bus.members[0].name
  policy = jsonencode({ Version = "2012-10-17", Statement = [merge(
    {
      Sid       = "Members", Effect = "Allow", Action = "events:PutEvents", Resource = aws_cloudwatch_event_bus.members[0].arn,
      Principal = var.organization_id == "" ? { AWS = var.member_accounts } : { AWS = ["*"] }
    },
    var.organization_id == "" ? {} : { Condition = { StringEquals = { "aws:PrincipalOrgID" = var.organization_id } } },
  )] })
}

locals {
  trail_arn   = "arn:${local.partition}:cloudtrail:${local.region}:${local.account}:trail/${var.name}"
  data_events = ["AWS::Bedrock::AgentAlias", "AWS::Bedrock::InlineAgent", "AWS::Bedrock::FlowAlias", "AWS::Bedrock::KnowledgeBase", "AWS::Bedrock::Model", "AWS::Bedrock::AsyncInvoke", "AWS::BedrockAgentCore::Runtime"]
}
resource "aws_cloudtrail" "own" {
  #checkov:skip=CKV_AWS_35:With kms_key_arn; else the keys of S3, a key of one's own costs more than the trail
  #checkov:skip=CKV_AWS_252:Events come by EventBridge; a topic for each log file would have no reader
  #checkov:skip=CKV2_AWS_10:Nobody reads the trail in CloudWatch Logs; events come by EventBridge
  count                         = local.makes_trail ? 1 : 0
  depends_on                    = [aws_s3_bucket_policy.trail]
  name                          = var.name
  s3_bucket_name                = aws_s3_bucket.trail[0].id
  is_multi_region_trail         = true
  include_global_service_events = true
  enable_log_file_validation    = true
  kms_key_id                    = local.key
  tags                          = local.tags
  dynamic "advanced_event_selector" {
    for_each = var.create_trail ? [1] : []
    content {
      name = "management"
      field_selector {
        field  = "eventCategory"
        equals = ["Management"]
      }
    }
  }
  dynamic "advanced_event_selector" {
    for_each = var.trail_data_events ? local.data_events : []
    content {
      name = replace(advanced_event_selector.value, "::", "-")
      field_selector {
        field  = "eventCategory"
        equals = ["Data"]
      }
      field_selector {
        field  = "resources.type"
        equals = [advanced_event_selector.value]
      }
    }
  }
}
resource "aws_s3_bucket" "trail" {
  #checkov:skip=CKV_AWS_18:As the lake
  #checkov:skip=CKV_AWS_21:A trail writes each file once, and its digests tell what was changed
  #checkov:skip=CKV_AWS_144:As the lake
  #checkov:skip=CKV_AWS_145:As the trail
  #checkov:skip=CKV2_AWS_62:As the lake
  count         = local.makes_trail ? 1 : 0
  bucket_prefix = "${var.name}-trail-"
  force_destroy = var.delete_data
  tags          = local.tags
}
resource "aws_s3_bucket_public_access_block" "trail" {
  count                   = local.makes_trail ? 1 : 0
  bucket                  = aws_s3_bucket.trail[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}
resource "aws_s3_bucket_lifecycle_configuration" "trail" {
  count  = local.makes_trail ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id
  rule {
    id     = "old"
    status = "Enabled"
    filter {}
    expiration { days = 400 }
    abort_incomplete_multipart_upload { days_after_initiation = 1 }
  }
}
resource "aws_s3_bucket_policy" "trail" {
  count      = local.makes_trail ? 1 : 0
  depends_on = [aws_s3_bucket_public_access_block.trail]
  bucket     = aws_s3_bucket.trail[0].id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect    = "Allow", Principal = { Service = "cloudtrail.amazonaws.com" }, Action = "s3:GetBucketAcl", Resource = aws_s3_bucket.trail[0].arn,
    Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
    }, {
    Effect    = "Allow", Principal = { Service = "cloudtrail.amazonaws.com" }, Action = "s3:PutObject",
    Resource  = "${aws_s3_bucket.trail[0].arn}/AWSLogs/${local.account}/*",
    Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn, "s3:x-amz-acl" = "bucket-owner-full-control" } }
    }, {
    Effect    = "Deny", Principal = "*", Action = "s3:*", Resource = [aws_s3_bucket.trail[0].arn, "${aws_s3_bucket.trail[0].arn}/*"],
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }] })
}
