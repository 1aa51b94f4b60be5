# The program: one task on Fargate, or two of which one waits.
resource "aws_cloudwatch_log_group" "program" {
  #checkov:skip=CKV_AWS_338:The lake keeps what counts; the program's own log is for looking into trouble
  #checkov:skip=CKV_AWS_158:With kms_key_arn
  name              = "/sluice/${var.name}"
  retention_in_days = var.retention_days
  kms_key_id        = local.key
  tags              = local.tags
}
resource "aws_ecs_cluster" "own" {
  #checkov:skip=CKV_AWS_65:The program exports its own metrics; Container Insights charges for as many again
  name = var.name
  tags = local.tags
}
locals {
  ecs_trust = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect = "Allow", Principal = { Service = "ecs-tasks.amazonaws.com" }, Action = "sts:AssumeRole",
    Condition = {
      StringEquals = { "aws:SourceAccount" = local.account }
      ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
    }
  }] })
}
resource "aws_iam_role" "start" {
  name_prefix        = "${var.name}-start-"
  description        = "ECS pulls the image and writes the log of sluice as this role"
  assume_role_policy = local.ecs_trust
  tags               = local.tags
}
resource "aws_iam_role_policy" "start" {
  name = "start"
  role = aws_iam_role.start.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [
    { Sid = "Token", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
    {
      Sid      = "Image", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
      Resource = ["arn:${local.partition}:ecr:*:*:repository/*"]
    },
    { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.program.arn}:*"] },
  ] })
}
resource "aws_iam_role" "task" {
  name               = "${var.name}-ingest"
  description        = "sluice reads logs and writes its lake as this role. It can change no permission."
  assume_role_policy = local.ecs_trust
  tags               = local.tags
}
resource "aws_iam_role_policy" "task" {
  name = "ingest"
  role = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat([
    { Sid = "Configuration", Effect = "Allow", Action = ["ssm:GetParameter", "ssm:GetParameters"], Resource = [local.parameters] },
    {
      Sid      = "Stream", Effect = "Allow", Action = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"],
      Resource = [local.has_workers ? aws_kinesis_stream.relay[0].arn : aws_kinesis_stream.logs.arn]
    },
    {
      Sid      = "Queue", Effect = "Allow", Action = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
      Resource = [aws_sqs_queue.events.arn]
    },
    {
      Sid    = "Lake", Effect = "Allow", Resource = ["${local.bucket_arn}/lake/*"],
      Action = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
    },
    {
      Sid       = "LakeFolder", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket_arn],
      Condition = { StringLike = { "s3:prefix" = ["lake", "lake/*"] } }
    },
    {
      Sid    = "Shared", Effect = "Allow", Resource = [local.table_arn],
      Action = ["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
    },
    { Sid = "Tell", Effect = "Allow", Action = ["sns:Publish"], Resource = [aws_sns_topic.breaches.arn] },
    { Sid = "Completeness", Effect = "Allow", Action = ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"], Resource = ["*"] },
    {
      Sid    = "Entries", Effect = "Allow",
      Action = ["glue:CreateTable", "glue:GetTable", "glue:UpdateTable"],
      Resource = [
        "arn:${local.partition}:glue:${local.region}:${local.account}:catalog",
        "arn:${local.partition}:glue:${local.region}:${local.account}:database/${var.glue_database}",
        "arn:${local.partition}:glue:${local.region}:${local.account}:table/${var.glue_database}/*"
      ]
    },
    ], jsondecode(local.policies["directory-policy.json"]).Statement,
    var.log_bucket_name == "" ? [] : [{ Sid = "LogObjects", Effect = "Allow", Action = ["s3:GetObject"], Resource = ["arn:${local.partition}:s3:::${var.log_bucket_name}/*"] }],
    local.has_members ? [{ Sid = "ReadMembers", Effect = "Allow", Action = ["sts:AssumeRole"], Resource = ["arn:${local.partition}:iam::*:role/${var.name}-reader"] }] : [],
    local.use_key,
  ) })
}
resource "aws_ecs_task_definition" "own" {
  depends_on               = [aws_cloudformation_stack.setup]
  family                   = var.name
  cpu                      = var.cpu
  memory                   = var.memory
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.task.arn
  tags                     = local.tags
  volume { name = "state" }
  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }
  container_definitions = jsonencode([{
    name                   = "sluice"
    image                  = var.image_uri != "" ? var.image_uri : "${local.account}.dkr.ecr.${local.region}.${local.suffix}/sluice:${var.release}"
    essential              = true
    command                = concat(["--log-format", "json", "run"], var.standby ? ["--standby"] : [])
    readonlyRootFilesystem = true
    user                   = "10001"
    stopTimeout            = 60
    mountPoints            = [{ sourceVolume = "state", containerPath = "/var/lib/sluice", readOnly = false }]
    environment = [
      { name = "AWS_REGION", value = local.region },
      { name = "SLUICE_CONFIG", value = "ssm:/${var.name}/config" },
      { name = "STATE_DIRECTORY", value = "/var/lib/sluice" },
      # A change of what is read at the start alone makes a new task.
      { name = "SLUICE_MADE_WITH", value = "${local.enforces} ${var.workers} ${var.log_bucket_name} ${var.standby}" },
    ]
    logConfiguration = {
      logDriver = "awslogs"
      options   = { awslogs-group = aws_cloudwatch_log_group.program.name, awslogs-region = local.region, awslogs-stream-prefix = "sluice" }
    }
    # Whether it works, as ledger or as standby, not whether it is ready: a new task would not make S3 answer.
    healthCheck = {
      command  = ["CMD", "/usr/bin/sluice", "status", "--live", "--socket", "/var/lib/sluice/control.sock"]
      interval = 60, timeout = 30, retries = 5, startPeriod = 300
    }
  }])
}
resource "aws_ecs_service" "own" {
  #checkov:skip=CKV_AWS_333:Without NAT the way to services of AWS is a public address; nothing comes in, see network.tf
  #checkov:skip=CKV_AWS_332:The platform version that is newest when a task starts
  # While the service goes, the daemon lifts what it holds: its way out and its permissions must stay as long, and be there before it starts.
  depends_on = [
    aws_ssm_parameter.config, aws_sns_topic_policy.breaches, aws_route_table_association.own, aws_vpc_endpoint.own,
    aws_iam_role_policy.task, aws_iam_role_policy.start, aws_iam_role_policy.task_enforces, aws_iam_role_policy.enforcer,
    aws_dynamodb_table.shared, aws_s3_bucket_policy.lake,
  ]
  name            = var.name
  cluster         = aws_ecs_cluster.own.id
  task_definition = aws_ecs_task_definition.own.arn
  launch_type     = "FARGATE"
  desired_count   = var.standby ? 2 : 1
  # One writer at a time: without a standby the old task ends before the new one starts.
  deployment_minimum_healthy_percent = var.standby ? 50 : 0
  deployment_maximum_percent         = 100
  propagate_tags                     = "SERVICE"
  enable_ecs_managed_tags            = true
  tags                               = local.tags
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  network_configuration {
    assign_public_ip = local.makes_vpc
    security_groups  = [aws_security_group.wall.id]
    subnets          = local.makes_vpc ? aws_subnet.own[*].id : var.subnet_ids
  }
  lifecycle {
    precondition {
      condition     = local.makes_vpc || length(var.subnet_ids) > 0
      error_message = "vpc_id without subnet_ids: name the subnets to run in."
    }
  }
}
