# The lake, and the tables that hold fire ids, holds, the audit trail and flags.
resource "aws_s3_bucket" "lake" {
  #checkov:skip=CKV_AWS_18:Whoever wants access logs has a bucket for them; data events of CloudTrail tell the same
  #checkov:skip=CKV_AWS_144:A copy in another region is a decision on cost and law; the bucket is a bucket like any other
  #checkov:skip=CKV2_AWS_62:Nobody is told of objects; readers go by the table's log
  count         = local.makes_bucket ? 1 : 0
  bucket_prefix = "${var.name}-lake-"
  force_destroy = var.delete_data
  tags          = local.tags
}
resource "aws_s3_bucket_server_side_encryption_configuration" "lake" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.lake[0].id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = local.has_key ? "aws:kms" : "AES256"
      kms_master_key_id = local.key
    }
  }
}
resource "aws_s3_bucket_public_access_block" "lake" {
  count                   = local.makes_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.lake[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}
resource "aws_s3_bucket_ownership_controls" "lake" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.lake[0].id
  rule { object_ownership = "BucketOwnerEnforced" }
}
# No file of the lake is ever written over; versions are there for a week in case somebody deletes what they should not.
resource "aws_s3_bucket_versioning" "lake" {
  count  = local.makes_bucket ? 1 : 0
  bucket = aws_s3_bucket.lake[0].id
  versioning_configuration { status = "Enabled" }
}
resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  count      = local.makes_bucket ? 1 : 0
  depends_on = [aws_s3_bucket_versioning.lake]
  bucket     = aws_s3_bucket.lake[0].id
  rule {
    id     = "unfinished"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload { days_after_initiation = 1 }
  }
  rule {
    id     = "deleted"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration { noncurrent_days = 7 }
    expiration { expired_object_delete_marker = true }
  }
  rule {
    id     = "answers"
    status = "Enabled"
    filter { prefix = "athena/" }
    expiration { days = 30 }
  }
}
resource "aws_s3_bucket_policy" "lake" {
  count      = local.makes_bucket ? 1 : 0
  depends_on = [aws_s3_bucket_public_access_block.lake]
  bucket     = aws_s3_bucket.lake[0].id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid       = "OnlyTls", Effect = "Deny", Principal = "*", Action = "s3:*",
    Resource  = [local.bucket_arn, "${local.bucket_arn}/*"],
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }] })
}

resource "aws_dynamodb_table" "shared" {
  #checkov:skip=CKV_AWS_119:With kms_key_arn; else DynamoDB's own key, which costs nothing
  #checkov:skip=CKV2_AWS_16:It is charged by request, so there is nothing to scale
  count                       = local.makes_table ? 1 : 0
  name                        = "${var.name}-shared"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = !var.delete_data
  tags                        = local.tags
  attribute {
    name = "pk"
    type = "S"
  }
  attribute {
    name = "sk"
    type = "S"
  }
  ttl {
    attribute_name = "ttl"
    enabled        = true
  }
  point_in_time_recovery { enabled = true }
  dynamic "server_side_encryption" {
    for_each = local.has_key ? [1] : []
    content {
      enabled     = true
      kms_key_arn = local.key
    }
  }
}
resource "aws_dynamodb_table" "flags" {
  #checkov:skip=CKV_AWS_28:A copy of what the shared table has, written anew by the program
  #checkov:skip=CKV_AWS_119:As the shared table
  #checkov:skip=CKV2_AWS_16:As the shared table
  name         = "${var.name}-flags"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  tags         = local.tags
  attribute {
    name = "pk"
    type = "S"
  }
  ttl {
    attribute_name = "expires"
    enabled        = true
  }
  dynamic "server_side_encryption" {
    for_each = local.has_key ? [1] : []
    content {
      enabled     = true
      kms_key_arn = local.key
    }
  }
}
