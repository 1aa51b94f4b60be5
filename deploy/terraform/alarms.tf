# Alarms, from the list that the CloudFormation template has as well; docs/runbook.md has a section for each. And the dashboard.
locals {
  alarms = { for alarm in jsondecode(file("${local.deploy}/cloudformation/alarms.json")) : alarm.name => alarm }
  # What the list refers to, by the names of the template.
  referred = { "Stream" = aws_kinesis_stream.logs.name, "Undelivered.QueueName" = aws_sqs_queue.undelivered.name }
}
resource "aws_cloudwatch_metric_alarm" "own" {
  #checkov:skip=CKV_AWS_319:Alarms have an action, the topic of alarms
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.does}. docs/runbook.md, ${each.key}"
  comparison_operator = can(each.value.below) ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = try(each.value.below, each.value.above)
  evaluation_periods  = try(each.value.of, 1)
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
  namespace           = can(each.value.query) ? null : try(each.value.namespace, "Sluice")
  metric_name         = try(each.value.metric, null)
  statistic           = try(each.value.stat, null)
  period              = can(each.value.query) ? null : each.value.period
  dimensions = can(each.value.query) ? null : { for name, value in try(each.value.dimensions, { Instance = var.name }) :
  name => try(local.referred[value.Ref], local.referred[join(".", value["Fn::GetAtt"])], tostring(value)) }
  dynamic "metric_query" {
    for_each = can(each.value.query) ? [each.value] : []
    content {
      id          = "q"
      expression  = replace(metric_query.value.query, "$${AWS::StackName}", var.name)
      period      = metric_query.value.period
      return_data = true
    }
  }
}
resource "aws_cloudwatch_dashboard" "own" {
  dashboard_name = var.name
  dashboard_body = replace(replace(file("${local.deploy}/dashboards/cloudwatch.json"), "$${Instance}", var.name), "$${Region}", local.region)
}
