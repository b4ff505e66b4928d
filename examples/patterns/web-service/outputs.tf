output "service" {
  description = "The service that releases go to"
  value       = flywheel_service.app.id
}

output "url" {
  description = "Stable address of the app"
  value       = flywheel_service.app.url
}
