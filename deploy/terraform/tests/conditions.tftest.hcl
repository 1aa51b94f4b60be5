# Conditions of the module, on plans of a provider that calls nothing: terraform test
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
  }
  mock_resource "aws_cloudformation_stack" {
    defaults = { outputs = { Logging = "", Subscription = "", Trail = "", Replay = "trail:", Release = "arn:aws:lambda:us-east-1:123456789012:function:release" } }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/mock" }
  }
  mock_resource "aws_kinesis_stream" {
    defaults = { arn = "arn:aws:kinesis:us-east-1:123456789012:stream/mock" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:123456789012:mock", url = "https://sqs.us-east-1.amazonaws.com/123456789012/mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:mock" }
  }
  mock_resource "aws_dynamodb_table" {
    defaults = { arn = "arn:aws:dynamodb:us-east-1:123456789012:table/mock" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { id = "mock-lake", arn = "arn:aws:s3:::mock-lake" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:mock" }
  }
  mock_resource "aws_cloudwatch_event_bus" {
    defaults = { arn = "arn:aws:events:us-east-1:123456789012:event-bus/mock" }
  }
  mock_resource "aws_cloudwatch_log_destination" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:destination:mock" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:us-east-1:123456789012:function:mock" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { id = "arn:aws:ecs:us-east-1:123456789012:cluster/mock" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/mock:1" }
  }
}

run "off_by_default" {
  assert {
    condition     = length(aws_iam_policy.deny) + length(aws_iam_role.enforcer) + length(aws_iam_role_policy.enforcer) + length(aws_iam_role_policy.task_enforces) + length(aws_iam_role_policy.release_detaches) == 0
    error_message = "Resources of enforcement are made without being asked for."
  }
  assert {
    condition = alltrue([for text in concat([for policy in [aws_iam_role_policy.task, aws_iam_role_policy.start, aws_iam_role_policy.setup, aws_iam_role_policy.release,
      aws_iam_role_policy.delivery] : policy.policy], [aws_cloudformation_stack.setup.template_body, aws_iam_policy.query.policy, aws_iam_policy.operator.policy]) :
    !can(regex("iam:(Add|Attach|Create|Delete|Detach|Put|Remove|Set|Tag|Untag|Update|\\*)", text))])
    error_message = "A role may change IAM although enforcement is off."
  }
  assert {
    condition     = strcontains(aws_ssm_parameter.config.value, "levers = []") && strcontains(local.first_budgets, "mode = \"observe\"")
    error_message = "The program is told to enforce."
  }
  assert {
    condition     = !strcontains(aws_cloudformation_stack.setup.template_body, "PutModelInvocationLogging") || !strcontains(aws_cloudformation_stack.setup.template_body, "SwitchLogging")
    error_message = "Logging would be managed without being asked for."
  }
  assert {
    condition     = aws_dynamodb_table.shared[0].deletion_protection_enabled && !aws_s3_bucket.lake[0].force_destroy
    error_message = "Data would go with the installation."
  }
  assert {
    condition     = length(aws_cloudformation_stack.setup.template_body) < 51200 && length(aws_cloudformation_stack.release.template_body) < 51200
    error_message = "CloudFormation takes templates of 51,200 bytes."
  }
  assert {
    condition     = aws_ecs_service.own.desired_count == 1 && aws_ecs_service.own.deployment_minimum_healthy_percent == 0 && aws_ecs_service.own.deployment_maximum_percent == 100
    error_message = "Two ledgers could run at a time."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.own.container_definitions)[0].readonlyRootFilesystem && jsondecode(aws_ecs_task_definition.own.container_definitions)[0].image == "123456789012.dkr.ecr.us-east-1.amazonaws.com/sluice:0.1.0"
    error_message = "Not the image of this account's registry, read-only."
  }
}

run "enforcing" {
  variables {
    enable_enforcement = true
  }
  assert {
    condition     = length(aws_iam_policy.deny) == 1 && length(aws_iam_role_policy.enforcer) == 3 && aws_iam_role.enforcer[0].name == "sluice-enforcer"
    error_message = "Enforcement lacks a part."
  }
  assert {
    condition     = strcontains(aws_ssm_parameter.config.value, "own_role_arn = \"arn:aws:iam::123456789012:role/sluice-enforcer\"") && strcontains(local.first_budgets, "mode = \"enforce\"")
    error_message = "The program is not told to enforce."
  }
  assert {
    condition     = !can(regex("iam:(Attach|Detach|Put)", aws_iam_role_policy.task.policy))
    error_message = "The task's own role may change IAM; the enforcer's alone may."
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.enforcer["lever"].policy, "role/agents/*") && strcontains(aws_iam_role_policy.enforcer["lever"].policy, "policy/sluice-deny-bedrock")
    error_message = "The lever reaches further than agents and one policy."
  }
}

run "logging_by_opt_in" {
  variables {
    manage_logging = true
  }
  assert {
    condition     = jsondecode(aws_cloudformation_stack.setup.template_body).Resources.LogGroup.DeletionPolicy == "Retain" && strcontains(aws_cloudformation_stack.setup.template_body, "SwitchLogging")
    error_message = "Logging that is made stays unless it is told to go."
  }
}

run "with_all" {
  variables {
    name              = "spend"
    standby           = true
    workers           = "lambda"
    organization_id   = "o-abcdefghij"
    log_bucket_name   = "bedrock-logs"
    create_trail      = true
    trail_data_events = true
    kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    vpc_id            = "vpc-1"
    subnet_ids        = ["subnet-1", "subnet-2"]
    lake_bucket_name  = "lake-before"
    shared_table_name = "shared-before"
    stream_mode       = "ON_DEMAND"
  }
  assert {
    condition     = aws_ecs_service.own.desired_count == 2 && length(aws_vpc.own) + length(aws_s3_bucket.lake) + length(aws_dynamodb_table.shared) == 0
    error_message = "What is given would be made again."
  }
  assert {
    condition     = strcontains(aws_ssm_parameter.config.value, "path = \"s3://lake-before/lake\"") && strcontains(aws_ssm_parameter.config.value, "streams = [\"spend-relay\"]") && strcontains(aws_ssm_parameter.config.value, "spend-reader")
    error_message = "The configuration does not follow."
  }
  assert {
    condition     = aws_lambda_event_source_mapping.worker[0].maximum_retry_attempts == -1 && aws_lambda_function.worker[0].s3_key == "sluice/0.1.0/sluice-lambda-arm64.zip"
    error_message = "A worker would drop records, or is not of this release."
  }
  assert {
    condition     = length(aws_cloudtrail.own[0].advanced_event_selector) == 8
    error_message = "The trail lacks events."
  }
}

run "everybody_is_nobodys_agent" {
  command = plan
  variables {
    agent_role_path = "/"
  }
  expect_failures = [var.agent_role_path]
}

run "an_amount_has_a_currency" {
  command = plan
  variables {
    daily_limit_per_agent = "25"
  }
  expect_failures = [var.daily_limit_per_agent]
}

run "a_network_has_subnets" {
  command = plan
  variables {
    vpc_id = "vpc-1"
  }
  expect_failures = [aws_ecs_service.own]
}
