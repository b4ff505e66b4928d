# What an app leaves on disk outlives every release and every process.
resource "flywheel_volume" "data" {
  name    = "data"
  size_mb = 256
}

resource "flywheel_service" "app" {
  name          = "app"
  artifact      = var.artifact
  command       = ["./app"]
  instances     = var.instances
  memory_mb     = var.memory_mb
  health_path   = "/healthz"
  start_seconds = 10
  env           = { DATA_DIR = "/data", DB_VERSION = var.db_version }
  secrets       = var.payments ? { PAYMENT_KEY = "payment_key" } : {} # only the name: the agent looks the value up
  volumes       = { "/data" = flywheel_volume.data.id }
}
