# Enforcement: nothing of this is there unless it is switched on.
#
# Every resource is created before what it replaces goes, which also turns the order of removal round: when enforcement is switched off,
# setup.tf is updated first and has everything lifted, and only then does what could lift it go.
resource "aws_iam_policy" "deny" {
  count       = local.enforces ? 1 : 0
  name        = "${var.name}-deny-bedrock"
  description = "Denies the use of Bedrock; sluice attaches it to whoever is over their budget"
  policy      = local.policies["iam/deny-bedrock.json"]
  tags        = local.tags
  lifecycle {
    create_before_destroy = true
  }
}
resource "aws_iam_role" "enforcer" {
  count       = local.enforces ? 1 : 0
  name        = "${var.name}-enforcer"
  description = "sluice attaches and detaches one deny policy as this role"
  tags        = local.tags
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect = "Allow", Principal = { AWS = aws_iam_role.task.arn }, Action = "sts:AssumeRole"
  }] })
  lifecycle {
    create_before_destroy = true
  }
}
resource "aws_iam_role_policy" "enforcer" {
  for_each = { for name, text in {
    lever = local.policies["iam/lever-deny-policy.json"]
    guard = local.policies["iam/enforcer-guard.json"]
    self = jsonencode({ Version = "2012-10-17", Statement = concat([
      {
        Sid    = "LookAtItself", Effect = "Allow", Resource = [local.enforcer],
        Action = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
      },
      { Sid = "WhomItIsOn", Effect = "Allow", Action = ["iam:ListEntitiesForPolicy"], Resource = [local.deny_arn] },
      { Sid = "Flags", Effect = "Allow", Action = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem"], Resource = [aws_dynamodb_table.flags.arn] },
    ], local.use_key) })
  } : name => text if local.enforces }
  name   = each.key
  role   = aws_iam_role.enforcer[0].id
  policy = each.value
  lifecycle {
    create_before_destroy = true
  }
}
# The task may take on the enforcer's role until all is lifted.
resource "aws_iam_role_policy" "task_enforces" {
  count = local.enforces ? 1 : 0
  name  = "enforce"
  role  = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid      = "Enforce", Effect = "Allow", Action = ["sts:AssumeRole"],
    Resource = [local.has_members ? "arn:${local.partition}:iam::*:role/${var.name}-enforcer" : local.enforcer]
  }] })
  lifecycle {
    create_before_destroy = true
  }
}
# The last resort of release.py: to detach the one policy, which only denies, from anyone; a person may have attached it elsewhere.
resource "aws_iam_role_policy" "release_detaches" {
  count = local.enforces ? 1 : 0
  name  = "release"
  role  = aws_iam_role.release.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [
    {
      Sid       = "Detach", Effect = "Allow", Action = ["iam:DetachGroupPolicy", "iam:DetachRolePolicy", "iam:DetachUserPolicy"],
      Resource  = [for kind in ["group", "role", "user"] : "arn:${local.partition}:iam::${local.account}:${kind}/*"]
      Condition = { ArnEquals = { "iam:PolicyARN" = local.deny_arn } }
    },
    {
      Sid      = "WhereTheyAre", Effect = "Allow", Action = ["iam:GetRole", "iam:GetUser"]
      Resource = [for kind in ["role", "user"] : "arn:${local.partition}:iam::${local.account}:${kind}/*"]
    },
  ] })
  lifecycle {
    create_before_destroy = true
  }
}
