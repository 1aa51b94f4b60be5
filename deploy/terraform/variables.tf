# The parameters of the CloudFormation template, by the same names in Terraform's spelling and with the same meaning and defaults.
variable "name" {
  description = "Name of this installation: of everything it makes, of the metric dimension, of the parameters. The stack's name of CloudFormation."
  type        = string
  default     = "sluice"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "Two to 24 small letters, digits and hyphens, the first one a letter."
  }
}

# ---- Budget ----
variable "daily_limit_per_agent" {
  description = "Limit of the first budget, for each agent and day. The budgets are yours to change afterwards, in the SSM parameter that the output budgets names."
  type        = string
  default     = "25.00 USD"
  validation {
    condition     = can(regex("^[0-9]+(\\.[0-9]{1,12})? USD$", var.daily_limit_per_agent))
    error_message = "An amount and its currency, for example 25.00 USD."
  }
}
variable "alarm_email" {
  description = "Who gets the alarms of this installation by e-mail. Empty for nobody."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(|[^@\\s]+@[^@\\s]+)$", var.alarm_email))
    error_message = "Empty or an address."
  }
}

# ---- What is read ----
variable "manage_logging" {
  description = "Switch Bedrock's invocation logging on, without texts, if this account and region has none. A configuration that is there is never changed."
  type        = bool
  default     = false
}
variable "remove_logging_on_delete" {
  description = "With manage_logging, switch the logging off again on destroy, if nobody has changed it."
  type        = bool
  default     = false
}
variable "create_trail" {
  description = "Make a CloudTrail trail. Needed only where the output trail says that none logs management events."
  type        = bool
  default     = false
}
variable "trail_data_events" {
  description = "Make a trail for data events of Bedrock agents, flows, knowledge bases and AgentCore. AWS charges each event."
  type        = bool
  default     = false
}
variable "log_bucket_name" {
  description = "A bucket of this region that Bedrock writes invocation logs to, where its log group cannot be subscribed to. The output log_bucket_notifications says what to do once."
  type        = string
  default     = ""
}
variable "member_accounts" {
  description = "Ids of other accounts that send logs and events (member.yaml of the CloudFormation templates makes their side)."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for id in var.member_accounts : can(regex("^[0-9]{12}$", id))])
    error_message = "Account ids have twelve digits."
  }
}
variable "organization_id" {
  description = "Organization whose accounts may send logs and events, instead of single member_accounts."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(|o-[a-z0-9]{10,32})$", var.organization_id))
    error_message = "Empty or the id of an organization, o-…"
  }
}

# ---- Enforcement: off unless you switch it on ----
variable "enable_enforcement" {
  description = "Let budgets in mode enforce deny Bedrock to roles under agent_role_path. With false there is no permission for it at all."
  type        = bool
  default     = false
}
variable "agent_role_path" {
  description = "Path, or beginning of the names, of the roles and users that may be stopped. No administrator's, and not those of this installation."
  type        = string
  default     = "agents/"
  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-][A-Za-z0-9+=,.@_/-]+$", var.agent_role_path))
    error_message = "A path without its first slash, of two characters or more: everybody is nobody's agents."
  }
}

# ---- Size and place ----
variable "architecture" {
  description = "Processor of the image and of the workers' zip."
  type        = string
  default     = "ARM64"
  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "ARM64 or X86_64."
  }
}
variable "cpu" {
  description = "CPU units of the task."
  type        = number
  default     = 256
  validation {
    condition     = contains([256, 512, 1024, 2048], var.cpu)
    error_message = "256, 512, 1024 or 2048."
  }
}
variable "memory" {
  description = "Memory of the task in MiB."
  type        = number
  default     = 512
  validation {
    condition     = contains([512, 1024, 2048, 4096, 8192], var.memory)
    error_message = "512, 1024, 2048, 4096 or 8192."
  }
}
variable "standby" {
  description = "Run a second task that takes over within seconds."
  type        = bool
  default     = false
}
variable "workers" {
  description = "With lambda, functions read and decode, and the task reads what they found. For more than one task can decode."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["none", "lambda"], var.workers)
    error_message = "none or lambda."
  }
}
variable "stream_mode" {
  description = "PROVISIONED is one shard, 1 MB a second, tens of thousands of calls a second without their texts."
  type        = string
  default     = "PROVISIONED"
  validation {
    condition     = contains(["PROVISIONED", "ON_DEMAND"], var.stream_mode)
    error_message = "PROVISIONED or ON_DEMAND."
  }
}
variable "vpc_id" {
  description = "VPC to run in. Empty makes a small one, with public subnets, no way in and no NAT."
  type        = string
  default     = ""
}
variable "subnet_ids" {
  description = "Subnets of vpc_id with a way to AWS. Private ones need NAT or endpoints."
  type        = list(string)
  default     = []
}

# ---- What is used again or named otherwise ----
variable "lake_bucket_name" {
  description = "Bucket for the lake, for example that of an installation before. Empty makes one."
  type        = string
  default     = ""
}
variable "shared_table_name" {
  description = "Shared table of an installation before, with its holds and audit trail. Empty makes one."
  type        = string
  default     = ""
}
variable "glue_database" {
  description = "Name of the Glue database, which is made."
  type        = string
  default     = "sluice"
  validation {
    condition     = can(regex("^[a-z0-9_]{1,255}$", var.glue_database))
    error_message = "Small letters, digits and underscores."
  }
}
variable "kms_key_arn" {
  description = "Your key for all data at rest; its policy must let the services use it. Empty uses keys of AWS."
  type        = string
  default     = ""
}
variable "retention_days" {
  description = "How long the program's own log is kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 7, 14, 30, 60, 90, 180, 365, 731, 3653], var.retention_days)
    error_message = "One of the periods of CloudWatch Logs: 1, 3, 7, 14, 30, 60, 90, 180, 365, 731 or 3653."
  }
}
variable "delete_data" {
  description = "Let destroy delete the lake and the shared table, too. With false it refuses to (docs/uninstall.md). Terraform alone has this: a stack of CloudFormation leaves them."
  type        = bool
  default     = false
}

# ---- Artifacts ----
variable "image_uri" {
  description = "Container image. Empty is sluice:VERSION in this account's registry."
  type        = string
  default     = ""
}
variable "artifact_bucket" {
  description = "Bucket with the workers' zip at sluice/VERSION/. Empty is sluice-artifacts-ACCOUNT-REGION."
  type        = string
  default     = ""
}
variable "release" {
  description = "Version of image and zip; Version of the CloudFormation template, a name that Terraform keeps for itself."
  type        = string
  default     = "0.1.0"
}
