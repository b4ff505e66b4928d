terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}

variable "artifact" {
  description = "Digest of the app's artifact"
  type        = string
}

variable "color" {
  description = "Color of the page"
  type        = string
  default     = "red"
}

variable "instances" {
  description = "How many processes serve requests"
  type        = number
  default     = 1
}

variable "volume" {
  description = "Name of the volume: another name is another volume"
  type        = string
  default     = "data"
}

variable "pay" {
  description = "Whether customers can pay; it needs the secret payment_key"
  type        = bool
  default     = false
}

variable "patience" {
  description = "Seconds within which a new process must be healthy"
  type        = number
  default     = 5
}

variable "region" {
  description = "Where it runs"
  type        = string
  default     = "here"
}

resource "flywheel_volume" "data" {
  name    = var.volume
  size_mb = 16
}

resource "flywheel_service" "app" {
  name          = "app"
  artifact      = var.artifact
  command       = ["./app"]
  instances     = var.instances
  memory_mb     = 64
  start_seconds = var.patience
  drain_seconds = 1
  env           = { COLOR = var.color, REGION = var.region }
  secrets       = var.pay ? { PAYMENT_KEY = "payment_key" } : {}
  volumes       = { "/data" = flywheel_volume.data.id }
}

output "service" {
  description = "The service that releases go to"
  value       = flywheel_service.app.id
}

output "url" {
  description = "Stable address"
  value       = flywheel_service.app.url
}
