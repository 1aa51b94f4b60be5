# sluice beside the logging configuration of one account: terraform init && terraform apply. The image is in the account's registry before
# (docs/deploy-linux.md).
provider "aws" {
  region = "us-east-1"
}

module "sluice" {
  source = "../.." # elsewhere: git::https://HOST/sluice.git//deploy/terraform?ref=v0.1.0

  daily_limit_per_agent = "25.00 USD"
  alarm_email           = "platform@example.com"
  # enable_enforcement  = true     # after a while of watching: docs/enforcement.md
  # agent_role_path     = "agents/"
}

output "sluice" {
  value = module.sluice
}
