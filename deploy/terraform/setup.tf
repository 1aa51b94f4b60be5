# What has to be found or lifted rather than made: the logging configuration, the subscription of its log group, a trail, the first budgets,
# and every deny before what could lift it goes. The functions are those of the CloudFormation template, in two small stacks, because a
# custom resource of CloudFormation is told of its update and its end with what it was before, and its refusal stops them.
locals {
  lambda_trust = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }] })
  handlers = { for name in ["setup", "release"] : name => join("\n", [
    file("${local.deploy}/cloudformation/handlers/answer.py"),
    replace(file("${local.deploy}/cloudformation/handlers/${name}.py"), "/(?m)^from answer import .*$/", ""),
  ]) }
  stack_tags = [for key, value in local.tags : { Key = key, Value = value }]
  # The log group and role of a logging configuration that outlives the installation outlive it as well.
  keeps = var.remove_logging_on_delete ? "Delete" : "Retain"
  logging = { for logical, about in {
    LogGroup = {
      Type       = "AWS::Logs::LogGroup", DeletionPolicy = local.keeps, UpdateReplacePolicy = local.keeps
      Properties = merge({ RetentionInDays = var.retention_days, Tags = local.stack_tags }, local.has_key ? { KmsKeyId = var.kms_key_arn } : {})
    }
    LoggingRole = {
      Type = "AWS::IAM::Role", DeletionPolicy = local.keeps, UpdateReplacePolicy = local.keeps
      Properties = {
        Description = "Bedrock writes invocation logs as this role", Tags = local.stack_tags
        AssumeRolePolicyDocument = { Version = "2012-10-17", Statement = [{
          Effect = "Allow", Principal = { Service = "bedrock.amazonaws.com" }, Action = "sts:AssumeRole"
          Condition = {
            StringEquals = { "aws:SourceAccount" = local.account }
            ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:bedrock:${local.region}:${local.account}:*" }
          }
        }] }
        Policies = [{ PolicyName = "write", PolicyDocument = { Version = "2012-10-17", Statement = [{
          Effect   = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = { "Fn::Sub" = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:$${LogGroup}:log-stream:aws/bedrock/modelinvocations" }
        }] } }]
      }
    }
    LoggingPolicy = {
      Type = "AWS::IAM::Policy"
      Properties = {
        PolicyName = "logging", Roles = [aws_iam_role.setup.name]
        PolicyDocument = { Version = "2012-10-17", Statement = [
          { Sid = "SwitchLogging", Effect = "Allow", Resource = "*", Action = ["bedrock:DeleteModelInvocationLoggingConfiguration", "bedrock:PutModelInvocationLoggingConfiguration"] },
          {
            Sid       = "LogAs", Effect = "Allow", Action = "iam:PassRole", Resource = { "Fn::GetAtt" = ["LoggingRole", "Arn"] }
            Condition = { StringEquals = { "iam:PassedToService" = "bedrock.amazonaws.com" } }
          },
        ] }
      }
    }
  } : logical => about if var.manage_logging }
  functions = { for logical, about in {
    Setup         = { code = local.handlers["setup"], role = aws_iam_role.setup.arn, time = 240, about = "Finds logging and trail, subscribes to the log group for sluice" }
    ReleaseByHand = { code = local.handlers["release"], role = aws_iam_role.release.arn, time = 900, about = "Lifts every deny of sluice before its installation goes" }
    } : logical => {
    Type = "AWS::Lambda::Function"
    Properties = {
      Description = about.about, Runtime = "python3.13", Handler = "index.handler", Timeout = about.time, MemorySize = 256, Role = about.role
      Code        = { ZipFile = about.code }, LoggingConfig = { LogGroup = aws_cloudwatch_log_group.setup.name }, Tags = local.stack_tags
    }
  } }
  found = {
    Logging = merge({
      Type = "Custom::Logging"
      Properties = {
        ServiceToken = { "Fn::GetAtt" = ["Setup", "Arn"] }, ServiceTimeout = 300
        Manage       = tostring(var.manage_logging), RemoveOnDelete = tostring(var.remove_logging_on_delete)
        LogGroup     = { "Fn::Join" = ["", [for part in [{ Ref = "LogGroup" }] : part if var.manage_logging]] }
        RoleArn      = { "Fn::Join" = ["", [for part in [{ "Fn::GetAtt" = ["LoggingRole", "Arn"] }] : part if var.manage_logging]] }
      }
    }, var.manage_logging ? { DependsOn = ["LoggingPolicy"] } : {})
    Subscription = {
      Type = "Custom::Subscription"
      Properties = {
        ServiceToken = { "Fn::GetAtt" = ["Setup", "Arn"] }, ServiceTimeout = 300
        Name         = var.name, Destination = aws_kinesis_stream.logs.arn, RoleArn = aws_iam_role.delivery.arn
        LogGroup     = { "Fn::GetAtt" = ["Logging", "LogGroup"] }, Distribution = { "Fn::GetAtt" = ["Logging", "Distribution"] }
      }
    }
    Trail = {
      Type = "Custom::Trail"
      Properties = {
        ServiceToken = { "Fn::GetAtt" = ["Setup", "Arn"] }, ServiceTimeout = 300
        Region       = local.region, Account = local.account
        # Looks again when this changes, and behind the trail that is made.
        Made = local.makes_trail ? aws_cloudtrail.own[0].name : "none"
      }
    }
    FirstBudgets = {
      Type = "Custom::Seed"
      Properties = {
        ServiceToken = { "Fn::GetAtt" = ["Setup", "Arn"] }, ServiceTimeout = 120
        Name         = "/${var.name}/budgets", Text = local.first_budgets
        Description  = "Budgets, receivers and rules of sluice, yours to edit. The installation wrote it once and never again."
      }
    }
    EnforcementSwitch = {
      Type = "Custom::EnforcementSwitch"
      Properties = {
        ServiceToken = { "Fn::GetAtt" = ["ReleaseByHand", "Arn"] }, ServiceTimeout = 960
        Enabled      = tostring(local.enforces), Agents = var.agent_role_path
        Policy       = local.deny_arn, Stack = var.name, Table = local.table, Cluster = var.name, Service = var.name
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "setup" {
  #checkov:skip=CKV_AWS_338:As that of the program
  #checkov:skip=CKV_AWS_158:With kms_key_arn
  name              = "/sluice/${var.name}/setup"
  retention_in_days = var.retention_days
  kms_key_id        = local.key
  tags              = local.tags
}
resource "aws_iam_role" "setup" {
  name_prefix        = "${var.name}-setup-"
  description        = "Finds logging and trail, subscribes to the log group for sluice"
  assume_role_policy = local.lambda_trust
  tags               = local.tags
}
resource "aws_iam_role_policy" "setup" {
  #checkov:skip=CKV_AWS_355:What is found is not known before; these calls only read
  name = "setup"
  role = aws_iam_role.setup.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [
    { Sid = "FindLogging", Effect = "Allow", Action = ["bedrock:GetModelInvocationLoggingConfiguration"], Resource = ["*"] },
    { Sid = "FindTrail", Effect = "Allow", Action = ["cloudtrail:DescribeTrails", "cloudtrail:GetEventSelectors", "cloudtrail:GetTrailStatus"], Resource = ["*"] },
    {
      Sid      = "Subscribe", Effect = "Allow", Action = ["logs:DeleteSubscriptionFilter", "logs:DescribeSubscriptionFilters", "logs:PutSubscriptionFilter"]
      Resource = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:*"]
    },
    {
      Sid       = "DeliverAs", Effect = "Allow", Action = ["iam:PassRole"], Resource = [aws_iam_role.delivery.arn]
      Condition = { StringEquals = { "iam:PassedToService" = "logs.amazonaws.com" } }
    },
    {
      Sid      = "FirstBudgets", Effect = "Allow", Action = ["ssm:DeleteParameter", "ssm:GetParameter", "ssm:PutParameter"]
      Resource = ["arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/${var.name}/budgets"]
    },
    { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.setup.arn}:*"] },
  ] })
}
resource "aws_iam_role" "release" {
  name_prefix        = "${var.name}-release-"
  description        = "Lifts every deny of sluice before its installation goes"
  assume_role_policy = local.lambda_trust
  tags               = local.tags
}
resource "aws_iam_role_policy" "release" {
  name = "orders"
  role = aws_iam_role.release.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat([
    { Sid = "Look", Effect = "Allow", Action = ["iam:ListEntitiesForPolicy"], Resource = [local.deny_arn] },
    { Sid = "Answers", Effect = "Allow", Action = ["dynamodb:GetItem"], Resource = [local.table_arn] },
    {
      Sid       = "Orders", Effect = "Allow", Action = ["dynamodb:PutItem"], Resource = [local.table_arn]
      Condition = { "ForAllValues:StringEquals" = { "dynamodb:LeadingKeys" = ["command", "command-open"] }, Null = { "dynamodb:LeadingKeys" = "false" } }
    },
    {
      Sid      = "Service", Effect = "Allow", Action = ["ecs:DescribeServices", "ecs:UpdateService"]
      Resource = ["arn:${local.partition}:ecs:${local.region}:${local.account}:service/${var.name}/${var.name}"]
    },
    { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.setup.arn}:*"] },
  ], local.use_key) })
}

resource "aws_cloudformation_stack" "setup" {
  #checkov:skip=CKV_AWS_124:Whoever applies sees what happens
  depends_on = [
    aws_iam_role_policy.setup, aws_iam_role_policy.release, aws_iam_role_policy.delivery, aws_iam_policy.deny, aws_iam_role_policy.enforcer,
    aws_iam_role_policy.task_enforces, aws_iam_role_policy.release_detaches, aws_dynamodb_table.shared,
  ]
  name         = "${var.name}-setup"
  capabilities = ["CAPABILITY_IAM"]
  tags         = local.tags
  template_body = jsonencode({
    Description = "Part of sluice that Terraform made: what is found, subscribed to and lifted"
    Resources   = merge(local.functions, local.logging, local.found)
    Outputs = merge({ for name in ["Logging", "Subscription", "Trail"] : name => { Value = { "Fn::GetAtt" = [name, "Told"] } } }, {
      Replay  = { Value = { "Fn::Join" = ["", ["trail:", { "Fn::GetAtt" = ["Trail", "Replay"] }]] } }
      Release = { Value = { "Fn::GetAtt" = ["ReleaseByHand", "Arn"] } }
    })
  })
}

# The first to go: lifts every deny while there is still somebody who can, the program itself if it runs.
resource "aws_cloudformation_stack" "release" {
  #checkov:skip=CKV_AWS_124:Whoever applies sees what happens
  depends_on = [aws_ecs_service.own]
  name       = "${var.name}-release"
  tags       = local.tags
  template_body = jsonencode({
    Description = "Part of sluice that Terraform made: lifts every deny when it is deleted"
    Resources = { Release = {
      Type = "Custom::Release"
      Properties = {
        ServiceToken = aws_cloudformation_stack.setup.outputs["Release"], ServiceTimeout = 960
        Policy       = local.deny_arn, Stack = var.name, Table = local.table, Cluster = var.name, Service = var.name
      }
    } }
  })
}
