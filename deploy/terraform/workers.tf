# Functions that read and decode, where one task is not enough.
resource "aws_kinesis_stream" "relay" {
  count            = local.has_workers ? 1 : 0
  name             = "${var.name}-relay"
  shard_count      = var.stream_mode == "PROVISIONED" ? 1 : null
  retention_period = 24
  encryption_type  = "KMS"
  kms_key_id       = local.has_key ? var.kms_key_arn : "alias/aws/kinesis"
  tags             = local.tags
  stream_mode_details { stream_mode = var.stream_mode }
}
resource "aws_sqs_queue" "unpublished" {
  count                     = local.has_workers ? 1 : 0
  name_prefix               = "${var.name}-unpublished-"
  message_retention_seconds = 1209600
  kms_master_key_id         = local.key
  sqs_managed_sse_enabled   = local.has_key ? null : true
  tags                      = local.tags
}
resource "aws_iam_role" "worker" {
  count              = local.has_workers ? 1 : 0
  name_prefix        = "${var.name}-worker-"
  description        = "sluice decodes logs in Lambda functions as this role"
  assume_role_policy = local.lambda_trust
  tags               = local.tags
}
resource "aws_iam_role_policy" "worker" {
  count = local.has_workers ? 1 : 0
  name  = "work"
  role  = aws_iam_role.worker[0].id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat([
    { Effect = "Allow", Resource = [aws_kinesis_stream.logs.arn], Action = ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"] },
    { Effect = "Allow", Resource = [aws_kinesis_stream.relay[0].arn], Action = ["kinesis:PutRecord", "kinesis:DescribeStreamSummary"] },
    { Effect = "Allow", Resource = [aws_sqs_queue.unpublished[0].arn], Action = ["sqs:SendMessage"] },
    { Effect = "Allow", Resource = ["${aws_cloudwatch_log_group.program.arn}:*"], Action = ["logs:CreateLogStream", "logs:PutLogEvents"] },
  ], [for one in local.use_key : one]) })
}
resource "aws_lambda_function" "worker" {
  #checkov:skip=CKV_AWS_50:Traces of a decoder tell nothing that its metrics do not
  #checkov:skip=CKV_AWS_115:A limit of its own would take from the account's; shards bound how many run
  #checkov:skip=CKV_AWS_116:Records that left the stream before they were published are told to a queue
  #checkov:skip=CKV_AWS_117:It calls services of AWS alone
  #checkov:skip=CKV_AWS_173:The environment holds names, no secrets
  #checkov:skip=CKV_AWS_272:The zip is checked by the sums of its release
  count         = local.has_workers ? 1 : 0
  depends_on    = [aws_iam_role_policy.worker]
  function_name = "${var.name}-worker"
  description   = "Decodes invocation logs for sluice"
  runtime       = "provided.al2023"
  handler       = "bootstrap"
  architectures = [local.arch]
  memory_size   = 512
  timeout       = 60
  role          = aws_iam_role.worker[0].arn
  s3_bucket     = var.artifact_bucket != "" ? var.artifact_bucket : "sluice-artifacts-${local.account}-${local.region}"
  s3_key        = "sluice/${var.release}/sluice-lambda-${local.arch}.zip"
  tags          = local.tags
  environment { variables = { SLUICE__RELAY__STREAM = aws_kinesis_stream.relay[0].name, SLUICE__RELAY__REGION = local.region } }
  logging_config {
    log_group  = aws_cloudwatch_log_group.program.name
    log_format = "Text"
  }
}
resource "aws_lambda_event_source_mapping" "worker" {
  count                              = local.has_workers ? 1 : 0
  function_name                      = aws_lambda_function.worker[0].arn
  event_source_arn                   = aws_kinesis_stream.logs.arn
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = 500
  maximum_batching_window_in_seconds = 1
  # Without end: what is dropped here is lost.
  maximum_retry_attempts        = -1
  maximum_record_age_in_seconds = -1
  function_response_types       = ["ReportBatchItemFailures"]
  destination_config {
    on_failure { destination_arn = aws_sqs_queue.unpublished[0].arn }
  }
}
