# What to do next, and what others refer to.
output "logging" {
  description = "Whether Bedrock logs calls here"
  value       = aws_cloudformation_stack.setup.outputs["Logging"]
}
output "subscription" {
  description = "Whether the stream gets them"
  value       = aws_cloudformation_stack.setup.outputs["Subscription"]
}
output "trail" {
  description = "Whether CloudTrail tells who called"
  value       = aws_cloudformation_stack.setup.outputs["Trail"]
}
output "log_bucket_notifications" {
  description = "With log_bucket_name: run once, so that the queue hears of new log objects (it replaces other notifications of the bucket)"
  value = var.log_bucket_name == "" ? null : join(" ", ["aws s3api put-bucket-notification-configuration --bucket ${var.log_bucket_name}",
    "--notification-configuration '${jsonencode({ QueueConfigurations = [{ QueueArn = aws_sqs_queue.events.arn, Events = ["s3:ObjectCreated:*"],
  Filter = { Key = { FilterRules = [{ Name = "suffix", Value = ".json.gz" }] } } }] })}'"])
}
output "subscribe" {
  description = "Be told of breaches"
  value       = "aws sns subscribe --topic-arn ${aws_sns_topic.breaches.arn} --protocol email --notification-endpoint YOU@EXAMPLE.COM"
}
output "budgets" {
  description = "Change budgets: download, edit, put"
  value       = "aws ssm get-parameter --name /${var.name}/budgets --query Parameter.Value --output text > budgets.toml && aws ssm put-parameter --overwrite --name /${var.name}/budgets --value file://budgets.toml"
}
output "status" {
  description = "What the program says"
  value       = "aws logs tail /sluice/${var.name} --since 15m"
}
output "holds" {
  description = "Who is held"
  value       = "sluice hold list --config ssm:/${var.name}/config"
}
output "ask" {
  description = "First question"
  value       = "https://${local.region}.console.aws.amazon.com/athena/home?region=${local.region}#/query-editor/saved-queries"
}
output "dashboard_url" {
  description = "Dashboard"
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${var.name}"
}
output "backfill" {
  description = "Read the trail's history, too, while the service is scaled to 0"
  value       = "sluice replay ${trimprefix(aws_cloudformation_stack.setup.outputs["Replay"], "trail:")} --since 30d --config ssm:/${var.name}/config"
}
output "lake" {
  description = "The lake"
  value       = "s3://${local.bucket}/lake"
}
output "breach_topic" {
  description = "Topic of breaches and holds"
  value       = aws_sns_topic.breaches.arn
}
output "alarm_topic" {
  description = "Topic of alarms"
  value       = aws_sns_topic.alarms.arn
}
output "policies_for_people" {
  description = "Attach them: questions alone, and orders"
  value       = { query = aws_iam_policy.query.arn, operator = aws_iam_policy.operator.arn }
}
output "shared_table" {
  description = "Holds and audit trail"
  value       = local.table
}
output "members_use" {
  description = "Parameters for member.yaml in the accounts that send here"
  value       = local.has_members ? "Installation=${var.name} CentralAccountId=${local.account} CentralRegion=${local.region}" : null
}
