# Questions: the tables of the lake in Glue, a workgroup, saved queries, and policies for people.
resource "aws_glue_catalog_database" "own" {
  name        = var.glue_database
  description = "Spend of AI agents on Bedrock"
}
locals {
  lake_tables  = { for table in jsondecode(file("${local.deploy}/athena/tables.json")) : table.Name => table }
  lake_queries = { for name in fileset("${local.deploy}/athena/queries", "*.sql") : trimsuffix(name, ".sql") => file("${local.deploy}/athena/queries/${name}") }
}
resource "aws_glue_catalog_table" "lake" {
  for_each           = local.lake_tables
  name               = each.key
  database_name      = aws_glue_catalog_database.own.name
  description        = try(each.value.Description, null)
  table_type         = try(each.value.TableType, null)
  parameters         = try({ for name, value in each.value.Parameters : name => replace(value, "$${Lake}", "s3://${local.bucket}/lake") }, null)
  view_original_text = try(each.value.ViewOriginalText, null)
  view_expanded_text = try(each.value.ViewExpandedText, null)
  dynamic "partition_keys" {
    for_each = try(each.value.PartitionKeys, [])
    content {
      name    = partition_keys.value.Name
      type    = partition_keys.value.Type
      comment = try(partition_keys.value.Comment, null)
    }
  }
  dynamic "storage_descriptor" {
    for_each = try([each.value.StorageDescriptor], [])
    content {
      location      = try(replace(storage_descriptor.value.Location, "$${Lake}", "s3://${local.bucket}/lake"), null)
      input_format  = try(storage_descriptor.value.InputFormat, null)
      output_format = try(storage_descriptor.value.OutputFormat, null)
      parameters    = try(storage_descriptor.value.Parameters, null)
      dynamic "columns" {
        for_each = try(storage_descriptor.value.Columns, [])
        content {
          name    = columns.value.Name
          type    = columns.value.Type
          comment = try(columns.value.Comment, null)
        }
      }
      dynamic "ser_de_info" {
        for_each = try([storage_descriptor.value.SerdeInfo], [])
        content {
          serialization_library = try(ser_de_info.value.SerializationLibrary, null)
          parameters            = try({ for name, value in ser_de_info.value.Parameters : name => replace(value, "$${Lake}", "s3://${local.bucket}/lake") }, null)
        }
      }
    }
  }
}
resource "aws_athena_workgroup" "own" {
  name          = var.name
  description   = "Questions about spend"
  force_destroy = true
  tags          = local.tags
  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = false
    bytes_scanned_cutoff_per_query     = 107374182400
    engine_version { selected_engine_version = "Athena engine version 3" }
    result_configuration {
      output_location = "s3://${local.bucket}/athena/"
      encryption_configuration {
        encryption_option = local.has_key ? "SSE_KMS" : "SSE_S3"
        kms_key_arn       = local.key
      }
    }
  }
}
resource "aws_athena_named_query" "own" {
  for_each    = local.lake_queries
  name        = trimspace(regex("(?m)^-- name: (.+)$", each.value)[0])
  description = trimspace(regex("(?m)^-- description: (.+)$", each.value)[0])
  database    = aws_glue_catalog_database.own.name
  workgroup   = aws_athena_workgroup.own.name
  query       = "${trimspace(replace(each.value, "/\\A(?:--[^\\n]*\\n)+/", ""))}\n"
}

resource "aws_iam_policy" "query" {
  name_prefix = "${var.name}-query-"
  description = "Ask questions about spend with Athena and sluice; change nothing"
  tags        = local.tags
  policy = jsonencode({ Version = "2012-10-17", Statement = concat([
    {
      Sid = "Ask", Effect = "Allow", Resource = ["arn:${local.partition}:athena:${local.region}:${local.account}:workgroup/${var.name}"]
      Action = ["athena:BatchGetNamedQuery", "athena:GetNamedQuery", "athena:GetQueryExecution", "athena:GetQueryResults", "athena:GetWorkGroup",
      "athena:ListNamedQueries", "athena:ListQueryExecutions", "athena:StartQueryExecution", "athena:StopQueryExecution"]
    },
    {
      Sid      = "Tables", Effect = "Allow", Action = ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
      Resource = [for part in ["catalog", "database/${var.glue_database}", "table/${var.glue_database}/*"] : "arn:${local.partition}:glue:${local.region}:${local.account}:${part}"]
    },
    { Sid = "Bucket", Effect = "Allow", Action = ["s3:GetBucketLocation", "s3:ListBucket"], Resource = [local.bucket_arn] },
    { Sid = "Lake", Effect = "Allow", Action = ["s3:GetObject"], Resource = ["${local.bucket_arn}/lake/*"] },
    {
      Sid    = "Answers", Effect = "Allow", Resource = ["${local.bucket_arn}/athena/*"]
      Action = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
    },
  ], local.use_key) })
}
resource "aws_iam_policy" "operator" {
  name_prefix = "${var.name}-operator-"
  description = "Give sluice orders (holds, levers, exceptions) and change its budgets"
  tags        = local.tags
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(jsondecode(local.policies["iam/operator.json"]).Statement, [
    { Sid = "Configuration", Effect = "Allow", Action = ["ssm:GetParameter", "ssm:GetParameters"], Resource = [local.parameters] },
    {
      Sid      = "Budgets", Effect = "Allow", Action = ["ssm:PutParameter"]
      Resource = ["arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/${var.name}/budgets"]
    },
  ], local.use_key) })
}
