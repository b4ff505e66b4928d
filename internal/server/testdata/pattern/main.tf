terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}
variable "artifact" {
  description = "Digest of the app's artifact"
  type        = string
}
variable "instances" {
  description = "How many processes"
  type        = number
  default     = 1
}
variable "color" {
  description = "What the app calls itself"
  type        = string
  default     = "red"
}
variable "volume" {
  description = "Name of the volume: another name is another volume"
  type        = string
  default     = "data"
}
variable "spare" {
  description = "Names of volumes that no service mounts"
  type        = set(string)
  default     = []
}
resource "flywheel_volume" "spare" {
  for_each = var.spare
  name     = each.value
  size_mb  = 1
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
  start_seconds = 15
  drain_seconds = 1
  env           = { COLOR = var.color }
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
